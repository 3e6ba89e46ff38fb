"""Contracts as documents: valid by others' rules, the same for the same code, and guarded by the command that `make check` runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator

from caravan.contracts import documents as made
from caravan.contracts.documents import ASYNCAPI, CONTRACTS, OPENAPI, Documents, documents, read
from caravan.contracts.schemas import inlined
from caravan.contracts.terminal import Incompatible, Stale, check, export
from streams import discover
from streams.envelope import decode_command, decode_event
from streams.personal import is_sealed
from tests.caravan.conftest import ROOT, caravan_in
from tests.caravan.edited import Edit, Shipped, checkout, planted

SPEC = json.loads(
    Path(__file__).with_name("asyncapi-3.0.0.json").read_text("utf-8")
)  # of @asyncapi/specs 6.11.1, the AsyncAPI Initiative's own, Apache-2.0; without white space
HELD = "class PointsHeld(Event, topic=POINTS):\n    user_id: Name\n    hold_id: Name\n    amount: Points\n"
RETYPED = (HELD, HELD.replace("amount: Points", "amount: str"))
OPTIONAL = (HELD, HELD + "    why: Text | None = None\n")
NEXT = (
    HELD,
    HELD.replace("topic=POINTS", "topic=POINTS, version=2, upcasts={1: lambda old: {**old, 'why': ''}}")
    + "    why: Text\n",
)


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return Shipped()


@pytest.fixture(scope="module")
def found(shipped: Shipped) -> Documents:
    return shipped.documents


@pytest.fixture
def folder(found: Documents, tmp_path: Path) -> Path:
    """An export of its own."""
    made.write(tmp_path / "contracts", found)
    return tmp_path / "contracts"


@pytest.fixture
def edit(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plant edits in the contract of points, as the command sees it."""

    def plant(*edits: Edit) -> None:
        shipped_ = [domain for name, domain in shipped.domains.items() if name != "points"]
        domains = [*shipped_, shipped.edited("points", edits)]
        monkeypatch.setattr("caravan.contracts.terminal.discovered", lambda: domains)

    return plant


# -- the documents


@pytest.mark.req("SR015")
def test_what_is_committed_is_what_the_code_says() -> None:
    """As `make check` has it; a difference is a verdict or a stale export."""
    check(None, as_json=False)


def test_asyncapi_is_valid(found: Documents) -> None:
    problems = [f"{error.json_path}: {error.message}" for error in Draft7Validator(SPEC).iter_errors(found[ASYNCAPI])]
    assert problems == []


@pytest.mark.parametrize("part", ["action", "channel"])
def test_asyncapi_without_a_part_is_not_valid(found: Documents, part: str) -> None:
    """The schema that tells is no ornament."""
    name, operation = next(iter(found[ASYNCAPI]["operations"].items()))
    lame = {**found[ASYNCAPI], "operations": {name: {k: v for k, v in operation.items() if k != part}}}
    assert not Draft7Validator(SPEC).is_valid(lame)


def test_openapi_is_valid(found: Documents) -> None:
    OpenAPIV31SpecValidator(found[OPENAPI]).validate()


def records(found: Documents) -> list[tuple[str, Any, Any]]:
    """(path, schema, example) of every record's schema."""
    return [
        (path, schema, one)
        for path, schema in found.items()
        if path.startswith("schemas/")
        for one in schema["examples"]
    ]


def test_every_message_has_a_schema_and_an_example_that_it_takes(found: Documents) -> None:
    told = records(found)
    kinds = [
        kind
        for d in discover.domains()
        for t in (discover.topic(d),)
        for kind in (*t.commands.values(), *t.events.values())
    ]
    assert len(told) == len(kinds) + 2 * len(discover.domains())
    for path, schema, example in told:
        Draft202012Validator.check_schema(schema)
        errors = Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(example)
        assert [f"{path} {error.json_path}: {error.message}" for error in errors] == []


def test_examples_are_records_as_they_stand_on_topics(found: Documents) -> None:
    """The platform reads them, and nothing personal is in the clear."""
    for path, _, example in records(found):
        value = json.dumps(example).encode()
        side = path.split("/")[2]
        envelope: Any = decode_command(value) if side == "commands" else decode_event(value)
        kind = getattr(discover.topic(envelope.domain), side).get(envelope.type)
        if kind is None:
            assert example["payload"] == {}
            continue
        message = kind.read(envelope.schema_version, bytes(envelope.payload))
        assert message.key == envelope.aggregate_id
        for name in found[CONTRACTS]["domains"][envelope.domain][side][envelope.type]["personal"]:
            assert example["payload"][name] is None or is_sealed(example["payload"][name])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "points_kept"),
        ("schema_version", 2),
        ("domain", "identity"),
        ("number", 0),
        ("event_id", "x"),
        ("payload", {}),
    ],
)
def test_a_schema_takes_no_other_record(found: Documents, name: str, value: Any) -> None:
    schema = found["schemas/points/events/points_held.v1.json"]
    validator = Draft202012Validator(schema, format_checker=FormatChecker())
    assert validator.is_valid({**schema["examples"][0], "trace": "what a newer platform says"})
    assert not validator.is_valid({**schema["examples"][0], name: value})


def test_a_personal_field_in_the_clear_is_no_record(found: Documents) -> None:
    schema = found["schemas/points/events/points_transfer_started.v1.json"]
    example = schema["examples"][0]
    assert Draft202012Validator(schema).is_valid(example)
    assert not Draft202012Validator(schema).is_valid({**example, "payload": {**example["payload"], "note": "clear"}})


def test_asyncapi_examples_fit_their_payloads(found: Documents) -> None:
    spec = found[ASYNCAPI]
    parts = spec["components"]["schemas"]
    for name, message in spec["components"]["messages"].items():
        for one in message["examples"]:
            for part, value in (("payload", one["payload"]), ("headers", one["headers"])):
                errors = Draft202012Validator(inlined(message[part], parts)).iter_errors(value)
                assert [f"{name} {error.json_path}: {error.message}" for error in errors] == []


def test_asyncapi_says_who_publishes_and_who_listens(found: Documents) -> None:
    """And how long a topic is kept, what its key is, and whether anything in it is personal."""
    spec = found[ASYNCAPI]
    held = spec["components"]["messages"]["points.events.points_held"]
    assert held["x-listeners"] == ["every rebuild of points", "policy payments of promotions"]
    award = spec["components"]["messages"]["points.commands.award_points"]
    assert award["x-publishers"] == ["edge: Admin", "policy finished_quests of points", "policy rewards of points"]
    expire = spec["components"]["messages"]["points.commands.expire_points"]
    assert expire["x-publishers"] == ["edge: Admin", "timers of points"]
    listens = spec["operations"]["promotions.policy.payments.receive.points.events"]
    assert listens["messages"] == [
        {"$ref": "#/channels/points.events/messages/points_held"},
        {"$ref": "#/channels/points.events/messages/points_spend_rejected"},
    ]
    channel = spec["channels"]["identity.events"]
    assert (channel["x-privacy"], channel["x-retention"], channel["x-key"]) == ("personal", "for ever", "user_id")
    assert channel["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == -1
    claimed = spec["components"]["messages"]["identity.events.login_claimed"]
    assert claimed["bindings"]["kafka"]["key"]["description"] == "The payload's login, in UTF-8."


def test_the_same_code_gives_the_same_bytes(shipped: Shipped, found: Documents) -> None:
    again = documents(list(reversed(shipped.domains.values())), found)
    assert {path: made.text(one) for path, one in again.items()} == {
        path: made.text(one) for path, one in found.items()
    }


# -- the folder


def test_an_export_leaves_no_file_of_a_message_that_is_gone(folder: Path, edit: Any) -> None:
    """And the second one has nothing to do."""
    edit((HELD, HELD.replace("PointsHeld", "PointsKept")))
    (folder / "notes.txt").write_text("not ours")
    export(folder, accept_incompatible=True)
    names = {file.name for file in (folder / "schemas/points/events").iterdir()}
    assert "points_kept.v1.json" in names
    assert "points_held.v1.json" not in names
    check(folder, as_json=False)
    assert (folder / "notes.txt").exists()


def test_an_export_keeps_the_schemas_of_older_versions(folder: Path, edit: Any) -> None:
    """Records of theirs are on the topic for ever, and AsyncAPI tells of them."""
    edit(NEXT)
    export(folder, accept_incompatible=False)
    check(folder, as_json=False)
    found = read(folder)
    told = found[CONTRACTS]["domains"]["points"]["events"]["points_held"]["schemas"]
    assert list(told) == ["1", "2"]
    assert [found[path]["properties"]["schema_version"]["const"] for path in told.values()] == [1, 2]
    assert {"points_held", "points_held.v1"} <= found[ASYNCAPI]["channels"]["points.events"]["messages"].keys()
    assert Draft7Validator(SPEC).is_valid(found[ASYNCAPI])


def test_an_export_does_not_make_a_breaking_change_the_new_truth(
    folder: Path, edit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read(folder)
    edit(RETYPED)
    with pytest.raises(Incompatible, match="1 incompatible; nothing was written"):
        export(folder, accept_incompatible=False)
    assert read(folder) == before
    assert "policy payments of promotions" in capsys.readouterr().out
    export(folder, accept_incompatible=True)
    check(folder, as_json=False)


def test_a_compatible_change_asks_for_an_export(folder: Path, edit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """In words that nobody takes for those of one that breaks something."""
    edit(OPTIONAL)
    with pytest.raises(Stale, match=r"1 compatible, nothing breaks; .* Export again and commit it") as stale:
        check(folder, as_json=False)
    assert "incompatible" not in capsys.readouterr().out + str(stale.value)
    export(folder, accept_incompatible=False)
    check(folder, as_json=False)


def test_words_alone_are_told_as_such(folder: Path, edit: Any) -> None:
    edit(('"""Points were not used in time."""', '"""Points were not used, and are gone."""'))
    with pytest.raises(Stale, match=r"no contract differs, but 3 documents do, .*words, examples or who listens"):
        check(folder, as_json=False)


def test_json_says_all_of_it(folder: Path, edit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    edit(RETYPED)
    with pytest.raises(Incompatible):
        check(folder, as_json=True)
    told = json.loads(capsys.readouterr().out)
    (verdict,) = told["verdicts"]
    assert (verdict["level"], verdict["where"]) == ("incompatible", "event points.points_held")
    assert "policy payments of promotions" in verdict["who"]
    assert "schemas/points/events/points_held.v1.json" in told["stale"]


def test_a_folder_without_an_export_and_one_that_is_broken(tmp_path: Path) -> None:
    with pytest.raises(Stale, match="has no export to compare with; make one with: caravan contracts export"):
        check(tmp_path, as_json=False)
    (tmp_path / CONTRACTS).write_text("{")
    with pytest.raises(made.Unreadable, match=r"cannot be read .* take the committed one back"):
        check(tmp_path, as_json=False)
    (tmp_path / CONTRACTS).write_text('{"format": 2}')
    with pytest.raises(made.Unreadable, match="is of format 2 and this code reads 1"):
        check(tmp_path, as_json=False)


def test_an_export_with_a_missing_file(folder: Path) -> None:
    (folder / "schemas/points/commands/award_points.v1.json").unlink()
    with pytest.raises(made.Unreadable, match=r"award_points.v1.json is missing; take the committed one back"):
        check(folder, as_json=False)


# -- the command, on a copy of the code


@pytest.mark.req("SR015")
def test_the_build_fails_on_an_incompatible_event(found: Documents, tmp_path: Path) -> None:
    """By the command that `make check` runs; it says who listens and the compatible way, and a compatible change reads otherwise."""
    assert "-m caravan contracts check" in (ROOT / "Makefile").read_text()
    place = checkout(tmp_path / "copy", found, {"topics/points/events.py": [RETYPED]})
    broken = caravan_in(place, ["contracts", "check"], {})
    assert broken.returncode == 1
    told = " ".join(broken.stdout.split())
    assert "incompatible event points.points_held field amount: string instead of integer" in told
    assert "listens: every rebuild of points; policy payments of promotions" in told
    assert "instead: a new optional field beside it; or a new version with an upcaster from the one before" in told
    assert (
        broken.stderr.strip()
        == "caravan: 1 incompatible: those named rely on what was exported. Change the contract as told"
    )


LISTENER = """
from topics.invoices import INVOICES, InvoiceCreated

INVOICED = Policy("invoiced", INVOICES, POINTS, on={InvoiceCreated: lambda fact: ()})
"""


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_domain_comes_retires_and_goes(found: Documents, tmp_path: Path) -> None:
    """Its contract cannot be deleted before it was retired and nobody listens, and who listens is named."""
    place = checkout(tmp_path / "copy", found, {})
    (place / "tests").mkdir()
    (place / "tests/__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", place)
    contract, agents, points = place / "topics/invoices.py", place / "agents/invoices", place / "agents/points/agent.py"

    def told(*arguments: str, status: int) -> str:
        done = caravan_in(place, arguments, {})
        assert done.returncode == status, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    told("new", "invoices", "--yes", "--into", str(place), status=0)
    assert "domain invoices it is new" in told("contracts", "check", status=1)
    told("contracts", "export", status=0)
    alone = points.read_text("utf-8")
    points.write_text(alone + LISTENER, "utf-8")
    assert "words, examples or who listens" in told("contracts", "check", status=1)
    told("contracts", "export", status=0)

    words, kept = contract.read_text("utf-8"), place / "kept.py"
    contract.rename(kept)
    gone = told("contracts", "check", status=1)
    assert "its events are listened to by policy invoiced of points" in gone
    assert "Retire it first: Topic('invoices', ..., retired=True)" in gone
    kept.rename(contract)

    contract.write_text(planted(words, [('Topic("invoices", ', 'Topic("invoices", retired=True, ')]), "utf-8")
    assert "with care domain invoices it is retired mind: its clients get 410" in told("contracts", "check", status=1)
    told("contracts", "export", status=0)
    contract.unlink()
    shutil.rmtree(agents)
    assert "Take it out of these first" in told("contracts", "check", status=1)
    points.write_text(alone, "utf-8")
    assert "with care domain invoices its contract is gone; it was retired" in told("contracts", "check", status=1)
    told("contracts", "export", status=0)
    assert not (place / "docs/contracts/schemas/invoices").exists()
    told("contracts", "docs", status=0)
    told("contracts", "check", status=0)
