"""What the auditor makes of records alone: numbers that are missing, repeated, rewritten, out of order; records of strangers; metrics."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import UUID

import msgspec
import pytest

from agents.points.agent import POINTS_DECIDER
from caravan.audit.domain import DOCUMENTS, RESULTS, Domain
from caravan.audit.finding import NAMED, Findings
from caravan.audit.metrics import Metric, Metrics, address_of
from caravan.audit.scratch import Scratch, Sums
from caravan.audit.written import Written
from caravan.errors import BadInput, PortBusy
from streams.contract import Event
from streams.envelope import Actor, EventEnvelope, Outcome, Signer, Source, encode
from streams.ids import derived
from topics.points import POINTS, PointsAwarded, PointsSpent

SIGNER = Signer([("k1", bytes(range(32)))])
AT = datetime(2026, 1, 1, tzinfo=UTC)


class Told(NamedTuple):
    """A record of the event topic."""

    offset: int
    value: bytes
    headers: list[tuple[str, bytes]]
    key: bytes = b"ann"
    timestamp: int = 0


def told(offset: int, number: int, event: Event | None = None, **changes: Any) -> Told:
    """An event of ann's, as the relay sends it; each is of a command of its own."""
    event = event or PointsAwarded(user_id="ann", amount=number)
    command_id = derived(UUID(int=number << 80), "", "test", "ann", 0)
    envelope = EventEnvelope(
        event_id=str(derived(command_id, "", event.wire_name, "ann", 0)), type=event.wire_name, schema_version=event.version,
        occurred_at=AT, domain="points", aggregate_id="ann", aggregate_seq=number, actor=Actor("user", "root", "Admin"),
        command_id=str(command_id), correlation_id=str(command_id), causation_id=str(command_id), number=number,
        source=Source(0, number - 1, "hash"), payload=msgspec.Raw(event.to_json()),
    )  # fmt: skip
    value = encode(msgspec.structs.replace(envelope, **changes))
    return Told(offset, value, [SIGNER.sign("points.events", b"ann", value)])


@pytest.fixture
def domain() -> Iterator[Domain]:
    domain = Domain(POINTS, POINTS_DECIDER, SIGNER, {})
    yield domain
    domain.close()


def take(domain: Domain, *records: Told, limit: int = 100) -> dict[str, int]:
    """Have the domain take these; what it finds, by name."""
    domain.begin(0)
    domain.take_events(0, records, limit)
    domain.end(0)
    return {check: count for (_, check), count in domain.lasting.counts.items()}


def test_numbers_without_gaps_are_folded(domain: Domain) -> None:
    assert take(domain, told(0, 1), told(1, 2)) == {}
    assert take(domain, told(2, 3, PointsSpent(user_id="ann", amount=2))) == {}
    assert (
        domain.scratch.get(DOCUMENTS, "ann") == '[3,1767225600000000,"{\\"available\\":1,\\"tally\\":{\\"spent\\":2}}"]'
    )
    assert domain.scratch.all("SELECT count(*) FROM row WHERE name = ?", RESULTS) == [(3,)]


@pytest.mark.parametrize("together", [True, False])
def test_a_number_that_never_came_is_named(domain: Domain, together: bool) -> None:
    records = (told(0, 1), told(1, 5))
    found = take(domain, *records) if together else [take(domain, one) for one in records][-1]

    assert found == {"event_missing": 3}
    (finding,) = domain.lasting
    assert (finding.place, finding.words) == ("points.events 0:1", "numbers 2 to 4 never came before number 5")


@pytest.mark.parametrize("together", [True, False])
def test_a_number_twice_is_harmless_with_the_same_bytes_only(domain: Domain, together: bool) -> None:
    records = (told(0, 1), told(1, 2), told(2, 2), told(3, 1), told(4, 2, PointsAwarded(user_id="ann", amount=9)))
    found = take(domain, *records) if together else [take(domain, one) for one in records][-1]

    assert found == {"event_repeated": 2, "event_rewritten": 1}
    assert [(one.check, one.harmless, one.place, one.words) for one in domain.lasting][::2] == [
        ("event_rewritten", False, "points.events 0:4", "number 2 was something else at offset 1"),
        ("event_repeated", True, "points.events 0:3", "number 1 once more, as at offset 0"),
    ]


def test_a_number_behind_a_later_one_is_named(domain: Domain) -> None:
    assert take(domain, told(0, 1), told(1, 3), told(2, 2)) == {"event_missing": 1, "event_disordered": 1}


def test_what_a_stranger_wrote_is_told_and_counts_for_nothing(domain: Domain) -> None:
    forged = told(1, 2)._replace(headers=[])
    assert take(domain, told(0, 1), forged, Told(2, b"?", []), told(3, 2)) == {"event_foreign": 2}


def test_nothing_is_taken_beyond_what_postgres_knows(domain: Domain) -> None:
    """It is taken when Postgres does."""
    assert take(domain, told(0, 1), told(1, 2), limit=1) == {}
    assert (domain.reached[0].beyond, domain.reached[0].events) == ((2, 1), 1)
    assert take(domain, told(1, 2), limit=2) == {}
    assert (domain.reached[0].beyond, domain.reached[0].on_topic) == (None, 2)


def test_an_event_that_the_rules_cannot_fold_is_named(domain: Domain) -> None:
    """One of another version, and one that breaks its contract."""
    assert take(domain, told(0, 1, schema_version=9), told(1, 2, payload=msgspec.Raw(b"{}"))) == {"fold_failed": 2}
    assert "points_awarded version 9 is unknown to this code" in str(next(iter(domain.lasting)))


def test_events_of_older_versions_are_folded_as_the_rules_fold_them(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the topic is of all versions that there were; one that no upcaster can read is named."""
    monkeypatch.setattr(PointsAwarded, "version", 2)
    monkeypatch.setattr(PointsAwarded, "upcasts", {1: lambda old: {**old, "amount": old.pop("points") * 10}})
    older: dict[str, Any] = {"schema_version": 1, "payload": msgspec.Raw(b'{"user_id": "ann", "points": 1}')}
    assert take(domain, told(0, 1, **older), told(1, 2)) == {}
    assert domain.scratch.get(DOCUMENTS, "ann") == '[2,1767225600000000,"{\\"available\\":12}"]'
    assert take(domain, told(2, 3, **{**older, "payload": msgspec.Raw(b'{"user_id": "ann"}')})) == {"fold_failed": 1}
    assert "could not be brought from version 1 to 2: KeyError('points')" in str(next(iter(domain.lasting)))


def test_a_result_is_what_its_events_tell(domain: Domain) -> None:
    """A pending one is settled by a later command; what the core tells is no event of its result."""
    pending = told(0, 1, outcome=Outcome("pending"))
    settles = Outcome("rejected", "late", 409, {"by": 3}, settles=derived(UUID(int=1 << 80), "", "test", "ann", 0))
    refused = told(1, 2, type="command_rejected", payload=msgspec.Raw(b"{}"), outcome=Outcome("rejected", "no", 404))
    take(domain, pending, refused, told(2, 3, aggregate_seq=2, outcome=settles))
    results = [
        msgspec.json.decode(row[0]) for row in domain.scratch.all("SELECT value FROM row WHERE name = 'results'")
    ]

    assert sorted((one[7], one[0], one[1], one[2], one[3].count("points_awarded")) for one in results) == [
        (0, "rejected", "late", '{"status":409,"details":{"by":3}}', 1),
        (1, "rejected", "no", '{"status":404,"details":{}}', 0),
        (2, "accepted", None, None, 1),
    ]


def test_a_table_is_compared_by_ranges() -> None:
    """One row that says something else, is missing, or is there once more, changes the range of its key and no other."""
    scratch = Scratch()
    rows = [(f"k{n}", f"v{n}") for n in range(500)]
    scratch.put("t", rows, adds=True)

    def differing(actual: list[tuple[str, str]]) -> int:
        sums = Sums.empty()
        sums.add(actual)
        return len(scratch.sums("t").differing(sums))

    assert differing(rows) == 0
    assert differing([("k0", "other"), *rows[1:]]) == differing(rows[1:]) == differing([*rows, rows[7]]) == 1
    scratch.close()


def test_rows_are_the_same_as_projected_and_as_stored() -> None:
    """As SQL types make of them what they do."""
    written = Written({"a": "numeric(10,2)", "b": "double precision", "c": "jsonb", "d": "text[]", "e": "uuid"}, ("a",))
    uuid = "0190f5f4-0000-7000-8000-000000000000"
    given, stored = (
        written((1, 2, {"y": 1, "x": 2}, ["a", None], uuid)),
        written((msgspec.json.decode("1"), 2.0, '{"x": 2, "y": 1}', ["a", None], UUID(uuid))),
    )

    assert given == stored
    assert written((None, 1.5, None, None, None))[0] == "[null]"


def test_findings_are_named_up_to_a_number_and_counted_all() -> None:
    findings = Findings()
    for n in range(NAMED + 5):
        findings.add("row_extra", "points", f"balance u{n}", "no event made it")

    assert (len(list(findings)), findings.counts["points", "row_extra"]) == (NAMED, NAMED + 5)


# -- metrics

PLAIN = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+-]+)')


def parsed(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The values of the text format, read as its specification says."""
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("#"):
            _, word, name, rest = line.split(" ", 3)
            kinds[name, word] = rest
            continue
        match = LINE.fullmatch(line)
        assert match, line
        assert (match[1], "TYPE") in kinds, "a type comes before its values"
        assert (match[1].endswith("_total")) == (kinds[match[1], "TYPE"] == "counter")
        labels = re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match[2] or "")
        read = tuple((name, re.sub(r"\\.", lambda escape: PLAIN[escape[0]], value)) for name, value in labels)
        found[match[1], read] = float(match[3])
    assert text.endswith("\n")
    return found


def test_metrics_are_what_prometheus_reads() -> None:
    """Whatever stands in a label."""
    metric = Metric("odd", "gauge", "Words with \\ and\na line.")
    odd = 'a "quoted" \\ and\nbroken'
    metric.set(1.5, domain=odd, check="x")
    metric.set(2, domain="plain", check="y")

    assert parsed("".join(f"{line}\n" for line in metric.lines())) == {
        ("caravan_audit_odd", (("domain", odd), ("check", "x"))): 1.5,
        ("caravan_audit_odd", (("domain", "plain"), ("check", "y"))): 2,
    }


async def test_metrics_are_served_on_one_path(free_port: int) -> None:
    """And nobody else can have the port meanwhile."""
    metrics = Metrics()
    metrics.outcome("failed")
    async with metrics.served("127.0.0.1", free_port) as port:
        answer = await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/metrics", None, 10)
        assert parsed(answer.read().decode()) == {("caravan_audit_looks_total", (("outcome", "failed"),)): 1}
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        with pytest.raises(HTTPError, match="404"):
            await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/", None, 10)
        with pytest.raises(PortBusy, match="choose another port"):
            async with metrics.served("127.0.0.1", port):
                pass


def test_the_port_of_metrics_is_on_loopback_unless_told() -> None:
    assert (address_of("9105"), address_of("0.0.0.0:9105"), address_of("[::1]:9105")) == (
        ("127.0.0.1", 9105), ("0.0.0.0", 9105), ("::1", 9105),
    )  # fmt: skip
    with pytest.raises(BadInput, match="is no port"):
        address_of("here")
