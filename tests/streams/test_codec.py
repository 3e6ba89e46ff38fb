"""Reading payloads quickly: every value and every error is the one of the class's own validator."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from caravan.contracts.examples import pool, record
from streams import codec
from streams.codec import Parse, parser, planned
from streams.contract import Message
from streams.personal import FROM_TOPIC, personal_fields
from tests.streams.kinds import ALL, Checked, Kind
from topics.identity import IDENTITY
from topics.points import POINTS, AwardPoints, PointsAwarded, SpendPoints
from topics.promotions import PROMOTIONS

Pairs = list[tuple[bytes, bytes]]

NUMBERS = re.findall(
    r"\S+",
    "0 -0 1 2 7 -1 1.0 7.0 0.0 1e2 1E0 1.5 01 +1 1. .5 0x1 1e400 -1e400 9007199254740991 9007199254740992 9223372036854775807 "
    "9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775809 100000000000000000000000000000000000000000 "
    "NaN Infinity -Infinity",
)
WORDS = re.findall(r"\S+", 'null true false nul [] {} [1] {"a":1} [[[]]] "" "a" "b" "u1" "1" "1.0" "true"')
TEXTS = [
    "a\n", "\n", " a ", "a b", "é", "日本", "\U0001f600", "e\u0301", "A", "BAD", "KEY", "none", "null", "a\0b", "a" * 128, "a" * 129, "é" * 128, "x" * 1001,
    "٣", "K", "\u017f", "_", "-", "a:b", "enc1.", "enc1.dTE=.AAAA", "red", "RED",
]  # fmt: skip
TIMES = re.findall(
    r"\S+",
    "2026-01-31T12:00:00Z 2026-01-31t12:00:00z 2026-01-31T12:00:00.123456Z 2026-01-31T12:00:00.1234567Z 2026-01-31T12:00:00 2026-01-31 "
    "2026-01-31T12:00Z 2026-01-31T12Z 2026-01-31T24:00:00Z 2026-01-31T12:00:60Z 2026-02-30T12:00:00Z 2026-01-31T12:00:00+01:00 "
    "2026-01-31T12:00:00+0100 2026-01-31T12:00:00-23:59 2026-01-31T12:00:00+24:00 1999-12-31T23:59:59Z 1999-12-31T23:59:59-01:00 "
    "3000-01-01T00:00:00Z 9999-12-31T23:59:59-23:00 0001-01-01T00:00:00+01:00 0000-01-01T00:00:00Z 20260131T120000Z 1769860800 "
    "1769860800000 12:00:00 12:00 PT5M P1D 5 01890a5d-ac96-774b-bcce-b302099a8057 01890A5DAC96774BBCCEB302099A8057 "
    "{01890a5d-ac96-774b-bcce-b302099a8057} https://example.com/a HTTPS://EXAMPLE.com example",
)
RAW = [
    rb'"\ud83d\ude00"', rb'"\ud83d"', rb'"\ude00\ud83d"', rb'"\u0061"', rb'"\u0000"', rb'"\n"', rb'"\x"', rb'"\/"', b'"\x01"', b'"\x7f"', b'"a\tb"', b'"\xff"', b'"\xc3"',
    b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"a', b"", b" 1", b"1 ", b"1\n", b"1\x0b", b'"a""b"', b"'a'", b"[" * 250 + b"]" * 250, b'"' + b"\\\\" * 3 + b'"',
]  # fmt: skip
ODD = [
    *(told.encode() for told in (*NUMBERS, *WORDS)),
    *(json.dumps(text, ensure_ascii=False).encode() for text in (*TEXTS, *TIMES)),
    *(json.dumps(text).encode() for text in TEXTS if not text.isascii()),
    *RAW,
]  # fmt: skip


def _of_topics() -> Iterator[Kind]:
    """The contracts of the platform, each with an example."""
    for topic in (IDENTITY, POINTS, PROMOTIONS):
        values = pool(topic.commands.values())
        for contract in (*topic.commands.values(), *topic.events.values()):
            told = record(contract, values)
            assert told is not None
            yield Kind(contract, json.loads(told)["payload"], planned(contract) is not None)


KINDS = [*_of_topics(), *ALL]
TYPES = st.sampled_from(KINDS)


def pairs_of(kind: Kind) -> Pairs:
    return [(json.dumps(name).encode(), json.dumps(value).encode()) for name, value in kind.payload.items()]


def text_of(pairs: Pairs) -> bytes:
    return b"{" + b",".join(name + b":" + value for name, value in pairs) + b"}"


def context_of(contract: type[Message]) -> dict[str, Any] | None:
    return FROM_TOPIC if personal_fields(contract) else None


def outcome(parse: Any, payload: Any) -> Any:
    """All that can be seen of a message, or of an error."""
    try:
        message = parse(payload)
    except ValidationError as error:
        return "refused", str(error), repr(error.errors())
    except Exception as error:  # noqa: BLE001 - an author's own
        return type(error), str(error)
    values = [(name, type(value), repr(value)) for name, value in message.__dict__.items()]
    names, extra, private = message.model_fields_set, message.model_extra, message.__pydantic_private__
    return type(message), values, names, type(extra), repr(extra), private, repr(message)


def whole(contract: type[Message]) -> Any:
    """The class's own validator, as payloads from topics are read by it."""
    context = context_of(contract)
    return lambda payload: contract.__pydantic_validator__.validate_json(payload, extra="allow", context=context)


def differing(contract: type[Message], payloads: Iterator[bytes], parse: Parse) -> list[bytes]:
    own = whole(contract)
    return [payload for payload in payloads if outcome(parse, payload) != outcome(own, payload)]


def variants(kind: Kind) -> Iterator[bytes]:
    """The example with each odd value in each field, and with fields that are missing, unknown, repeated and elsewhere."""
    pairs = pairs_of(kind)
    yield text_of(pairs)
    for n, (name, value) in enumerate(pairs):
        before, after = pairs[:n], pairs[n + 1 :]
        for odd in ODD:
            yield text_of([*before, (name, odd), *after])
        for more in ((name, b"1"), (name, b'"b"'), (name, b"null"), (name, value)):
            yield text_of([more, *pairs])
            yield text_of([*pairs, more])
        yield text_of([*before, *after])
        yield text_of([*after, (name, value), *before])
        yield text_of([*before, (b'"\\u%04x%b' % (name[1], name[2:]), value), *after])
        yield text_of([*before, (b" \t\r\n" + name + b" ", b" " + value + b"\n"), *after])
    for name in (b'"colour"', b'"__pydantic_extra__"', b'"self"', b'""', b'"\xff"', b'"\\ud800"', b"1"):
        yield from (text_of([*pairs, (name, odd)]) for odd in (b"1", b"{}", b'"\xff"', b"NaN", b"[1e400]"))
    text = text_of(pairs)
    yield from (text[:n] for n in range(0, len(text), 9))
    yield from (text + more for more in (b" ", b"\n", b",", b"}", b"x", b"\0", b"\xef\xbb\xbf"))
    yield from (more + text for more in (b" ", b"\xef\xbb\xbf", b"\0", b"["))
    yield from (b"", b"null", b"[]", b"{}", b'"a"', b"1")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.contract.__name__)
def test_a_payload_reads_as_by_the_class(kind: Kind) -> None:
    assert (planned(kind.contract, context_of(kind.contract)) is not None) is kind.quick
    assert outcome(kind.contract.from_topic, text_of(pairs_of(kind)))[0] is kind.contract
    assert not differing(kind.contract, variants(kind), kind.contract.from_topic)


@settings(max_examples=100, deadline=None)
@given(TYPES, st.data())
def test_so_does_any_mixture_of_what_is_odd(kind: Kind, data: st.DataObject) -> None:
    pairs = pairs_of(kind)
    value = st.one_of(st.sampled_from(ODD), st.sampled_from([told for _, told in pairs]))
    name = st.one_of(
        st.sampled_from([name for name, _ in pairs]), st.text(max_size=3).map(lambda t: json.dumps(t).encode())
    )
    told = data.draw(st.lists(st.tuples(name, value), max_size=3))
    mixed = data.draw(st.sampled_from([[*told, *pairs], [*pairs, *told], [*pairs[::-1], *told], told]))
    assert not differing(kind.contract, iter([text_of(mixed)]), kind.contract.from_topic)


@settings(max_examples=300, deadline=None)
@given(TYPES, st.data())
def test_so_do_broken_bytes(kind: Kind, data: st.DataObject) -> None:
    text = text_of(pairs_of(kind))
    start = data.draw(st.integers(0, len(text)))
    broken = text[:start] + data.draw(st.binary(max_size=3)) + text[start + data.draw(st.integers(0, 3)) :]
    assert not differing(kind.contract, iter([broken]), kind.contract.from_topic)


@given(st.integers() | st.text() | st.floats() | st.booleans() | st.none(), st.booleans())
def test_so_do_plain_values(value: Any, escaped: bool) -> None:
    payload = json.dumps({"user_id": "u1", "amount": 1, "reference": None} | {"reference": value}, ensure_ascii=escaped)
    assert not differing(SpendPoints, iter([payload.encode("utf-8", "surrogatepass")]), SpendPoints.from_topic)
    payload = json.dumps({"user_id": "u1", "amount": value, "reference": "r"}, ensure_ascii=escaped)
    assert not differing(SpendPoints, iter([payload.encode("utf-8", "surrogatepass")]), SpendPoints.from_topic)


@pytest.mark.parametrize("field", ["user_id", "amount", "rule", "expires_at"])
def test_the_comparison_sees_a_field_that_is_not_judged(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(PointsAwarded)
    assert plan is not None
    kind = int if field == "amount" else str | None
    worse = plan._replace(parts={**plan.parts, field: codec._Part(kind)})
    monkeypatch.setattr(codec, "planned", lambda _cls, _context: worse)
    kinds = {kind.contract: kind for kind in KINDS}
    assert differing(PointsAwarded, variants(kinds[PointsAwarded]), parser(PointsAwarded))


def test_the_comparison_sees_a_function_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(Checked)
    assert plan is not None
    monkeypatch.setattr(codec, "planned", lambda _cls, _context: plan._replace(after=[]))
    assert differing(Checked, iter([b'{"id":"a","low":5,"high":4}']), parser(Checked))


def test_what_the_busiest_contracts_are_read_by() -> None:
    assert all(planned(contract) for contract in (PointsAwarded, AwardPoints, SpendPoints))


def test_a_part_of_a_larger_buffer_reads_as_bytes_do() -> None:
    for payload in (b'{"user_id":"u1","amount":5,"reference":null}', b'{"user_id":"u1","amount":5}', b'{"amount":5}'):
        raw = msgspec.json.decode(b"[ %b ]" % payload, type=list[msgspec.Raw])[0]
        assert outcome(SpendPoints.from_topic, raw) == outcome(SpendPoints.from_topic, payload)


def test_messages_of_a_class_do_not_share_what_may_change() -> None:
    payload = b'{"user_id":"u1","amount":5,"reference":null}'
    one, other = SpendPoints.from_topic(payload), SpendPoints.from_topic(payload)
    assert one == other
    assert hash(one) == hash(other)
    changed = one.model_copy(update={"amount": 6, "colour": "red"})
    assert (
        other.model_fields_set == SpendPoints.from_topic(payload).model_fields_set == {"user_id", "amount", "reference"}
    )
    assert changed.model_fields_set >= {"colour"}
    assert TypeAdapter(SpendPoints).dump_python(other) == {
        "user_id": "u1",
        "amount": 5,
        "reference": None,
        "spend_id": None,
    }
