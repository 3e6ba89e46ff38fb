"""Versions: every record that there ever was is read by the code of today, and what it does not know is kept."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caravan.decoded import Decoder
from streams.acting import Acting
from streams.clock import VirtualClock
from streams.contract import Command, Event, Name, Text, Topic, Upcast, UpcastFailed
from streams.deciding import Deciding
from streams.effecting import Effecting
from streams.envelope import Actor, CommandEnvelope, EventEnvelope, Source, decode_command, decode_event, encode
from streams.errors import ContractError
from streams.ids import uuid7
from streams.inspection import Malformed, checked, with_payload
from streams.memory import MemoryRecord
from streams.outside import Outside
from streams.personal import Personal
from streams.producer import enveloped, signed
from streams.reading import Found, Place
from streams.records import CommandReader, EventReader, Unfit
from streams.store import Slot
from streams.testing import SIGNER
from tests.streams.receipts import effect
from tests.streams.rig import COMMANDS, EVENTS, Owner, Rig, until
from tests.streams.tally import ECHO, A, Add, Added, decider

SHOP = Topic("shop", key="order", partitions=1)


def in_cents(old: dict[str, Any]) -> dict[str, Any]:
    old["cents"] = old.pop("euros") * 100
    return old


def with_currency(old: dict[str, Any]) -> Mapping[str, Any]:
    return {**old, "currency": "EUR"}


class Pay(Command, topic=SHOP, roles=("User",), version=3, upcasts={1: in_cents, 2: with_currency}):
    order: Name
    cents: int
    currency: Name
    note: Personal[Text] | None = None


class Paid(Event, topic=SHOP, version=3, upcasts={1: in_cents, 2: with_currency}):
    order: Name
    cents: int
    currency: Name


OLD = [
    (1, {"order": "o1", "euros": 7}),
    (2, {"order": "o1", "cents": 700}),
    (3, {"order": "o1", "cents": 700, "currency": "EUR"}),
]
BEYOND = {"colour": "red", "deep": [{"n": 9007199254740993}], "text": "näh\u2028"}  # what no version of today knows


def command_record(version: int, payload: Any, **changes: Any) -> Any:
    """A command as an edge of that version wrote it."""
    clock = VirtualClock()
    command_id = uuid7(int(clock.now().timestamp() * 1000))
    now = enveloped(
        Pay(order="o1", cents=1, currency="EUR"),
        command_id=command_id,
        issued_at=clock.now(),
        actor=Actor("user", "u1", "User"),
    )
    fields = {**msgspec.structs.asdict(now), "schema_version": version, "payload": raw(payload), **changes}
    value = encode(CommandEnvelope(**fields))
    stamp = int(clock.now().timestamp() * 1000)
    return MemoryRecord("shop.commands", 0, 0, stamp, b"o1", value, signed("shop.commands", b"o1", value, SIGNER))


def event_record(version: int, payload: Any, topic: str = "shop.events", key: str = "o1", **changes: Any) -> Any:
    """An event as a decider of that version left it."""
    some_id = str(uuid7(1_800_000_000_000))
    envelope: dict[str, Any] = {
        "event_id": some_id,
        "type": "paid",
        "schema_version": version,
        "occurred_at": VirtualClock().now(),
        "domain": topic.partition(".")[0],
        "aggregate_id": key,
        "aggregate_seq": 1,
        "actor": Actor("user", "u1", "User"),
        "command_id": some_id,
        "correlation_id": some_id,
        "causation_id": some_id,
        "number": 1,
        "source": Source(0, 0, ""),
        "payload": raw(payload),
    }
    value = encode(EventEnvelope(**envelope | changes))
    return MemoryRecord(topic, 0, 0, 0, key.encode(), value, signed(topic, key.encode(), value, SIGNER))


def raw(payload: Any) -> msgspec.Raw:
    return msgspec.Raw(payload if isinstance(payload, bytes) else json.dumps(payload).encode())


def read_command(record: Any) -> Any:
    return CommandReader(SHOP, 0, SIGNER, VirtualClock()).read(record).message


def read_event(record: Any) -> Any:
    return EventReader(SHOP, 0, SIGNER).read(record).message


# -- readers


@pytest.mark.parametrize(("version", "payload"), OLD)
def test_records_of_every_version_are_read(version: int, payload: dict[str, Any]) -> None:
    """From version 1 through the whole chain, with what no version knows."""
    paid = read_event(event_record(version, payload | BEYOND))
    assert (type(paid), paid.order, paid.cents, paid.currency) == (Paid, "o1", 700, "EUR")
    assert paid.model_extra == BEYOND
    pay = read_command(command_record(version, payload | BEYOND))
    assert (type(pay), pay.order, pay.cents, pay.currency) == (Pay, "o1", 700, "EUR")
    assert json.loads(pay.to_json()) == {"note": None, **OLD[2][1], **BEYOND}


@pytest.mark.parametrize("version", [4, 99, 0, -1])
def test_a_version_that_nobody_here_knows_is_parked(version: int) -> None:
    for read, record in ((read_event, event_record), (read_command, command_record)):
        with pytest.raises(Unfit, match=rf"version {version} is unknown to this code, which reads 1 to 3") as unfit:
            read(record(version, OLD[2][1]))
        assert unfit.value.cause == "unknown_version"


@pytest.mark.parametrize(
    ("payload", "words"), [({"order": "o1"}, "KeyError"), (["o1"], "TypeError"), (b'"o1"', "AttributeError")]
)
def test_an_upcaster_that_raises_parks_the_record_with_its_cause(payload: Any, words: str) -> None:
    for read, record in ((read_event, event_record), (read_command, command_record)):
        with pytest.raises(Unfit, match=rf"could not be brought from version 1 to 3: {words}") as unfit:
            read(record(1, payload))
        assert unfit.value.cause == "upcast_failed"


def test_what_an_upcaster_gives_is_checked_as_all_else() -> None:
    with pytest.raises(Unfit, match=r"paid: .*int_parsing") as unfit:
        read_event(event_record(1, {"order": "o1", "euros": "seven"}))
    assert unfit.value.cause == "undecodable"
    with pytest.raises(Unfit) as unfit:
        read_event(event_record(1, {"order": "o2", "euros": 7}))
    assert unfit.value.cause == "wrong_key"


def test_an_upcaster_gives_an_object() -> None:
    paid: Any = declared(2, {1: lambda old: None})  # type: ignore[dict-item,return-value]
    with pytest.raises(UpcastFailed, match="version 1 to 2: TypeError"):
        paid.read(1, b'{"order": "o1"}')


def test_sealed_texts_pass_through_an_upcaster() -> None:
    pay = Pay.read(1, b'{"order": "o1", "euros": 7, "note": "enc1.x.y"}')
    assert json.loads(pay.to_json())["note"] == "enc1.x.y"


# -- declarations


def declared(version: int, upcasts: Mapping[int, Upcast], base: Any = Event, **more: Any) -> Any:
    body = {"__annotations__": {"order": Name}, "__module__": __name__}
    return type("Closed", (base,), body, topic=Topic("shop", key="order"), version=version, upcasts=upcasts, **more)


@pytest.mark.parametrize("base", [Event, Command])
@pytest.mark.parametrize(
    ("version", "upcasts", "words"),
    [
        (2, {}, r"version 2 cannot read the records of version 1; give `upcasts=\{1: ...\}`"),
        (3, {1: dict}, r"version 3 cannot read the records of version 2; give `upcasts=\{2: ...\}`"),
        (3, {2: dict}, "cannot read the records of version 1"),
        (2, {1: dict, 2: dict}, "upcasts has 2, and the current version is 2"),
        (1, {1: dict}, "upcasts has 1, and the current version is 1"),
        (2, {0: dict, 1: dict}, "upcasts has 0"),
        (0, {}, "versions begin with 1"),
    ],
)
def test_a_chain_with_a_missing_link_is_no_contract(
    base: Any, version: int, upcasts: dict[int, Upcast], words: str
) -> None:
    more = {"roles": ("User",)} if base is Command else {}
    with pytest.raises(ContractError, match=words):
        declared(version, upcasts, base, **more)


# -- agents, with a log that began when events were of version 1


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The domain's messages have changed twice since its first records: `sum` became `amount`, which became ten times as much."""

    def named(old: dict[str, Any]) -> dict[str, Any]:
        old["amount"] = old.pop("sum")
        return old

    def tenfold(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "amount": old["amount"] * 10}

    for kind in (Add, Added):
        monkeypatch.setattr(kind, "version", 3)
        monkeypatch.setattr(kind, "upcasts", {1: named, 2: tenfold})


HISTORY = [(1, {"account": A, "sum": 1}), (2, {"account": A, "amount": 2}), (3, {"account": A, "amount": 30})]


def plant_commands(rig: Rig) -> None:
    for number, (version, payload) in enumerate(HISTORY):
        command_id = uuid7(int(rig.clock.now().timestamp() * 1000) + number)
        now = enveloped(
            Add(account=A, amount=1),
            command_id=command_id,
            issued_at=rig.clock.now(),
            actor=Actor("user", "admin", "Admin"),
        )
        fields = {**msgspec.structs.asdict(now), "schema_version": version, "payload": raw(payload)}
        value = encode(CommandEnvelope(**fields))
        rig.broker.add(COMMANDS, 0, A.encode(), value, signed(COMMANDS, A.encode(), value, SIGNER))


def plant_events(rig: Rig, **more: Any) -> None:
    for number, (version, payload) in enumerate(HISTORY, 1):
        record = event_record(
            version,
            payload | more,
            EVENTS,
            A,
            type="added",
            number=number,
            aggregate_seq=number,
            event_id=str(uuid7(1_800_000_000_000 + number)),
        )
        rig.broker.add(EVENTS, 0, A.encode(), record.value, record.headers)


@pytest.mark.usefixtures("later")
async def test_a_decider_decides_commands_of_every_version(rig: Rig) -> None:
    plant_commands(rig)
    rig.decider()
    await rig.quiet()
    assert rig.parked() == []
    assert rig.amounts(A) == [10, 20, 30]
    told = [decode_event(record.value or b"") for record in rig.broker.records(EVENTS)]
    assert [(event.schema_version, json.loads(bytes(event.payload))["amount"]) for event in told] == [
        (3, 10), (3, 20), (3, 30),
    ]  # fmt: skip


@pytest.mark.usefixtures("later")
async def test_a_rebuild_folds_events_of_every_version(rig: Rig) -> None:
    plant_events(rig)
    rig.projection(rig.memory)
    await rig.quiet()
    assert rig.parked() == []
    assert rig.amounts(A) == [10, 20, 30]


@pytest.mark.usefixtures("later")
async def test_a_policy_acts_on_events_of_every_version(rig: Rig) -> None:
    plant_events(rig, how="echo")
    owner: Owner = rig.policy(policy=ECHO)
    await rig.quiet()
    assert isinstance(owner.handler, Acting)
    commands = [json.loads(record.value or b"")["payload"] for record in rig.broker.records(COMMANDS)]
    assert [command["amount"] for command in commands] == [10, 20, 30]


async def filled(rig: Rig) -> None:
    """A decider takes over the whole history into an empty store."""
    plant_events(rig)
    slot = Slot("tally", "tally", COMMANDS, 0)
    ports: Any = {"store": rig.store, "log": rig.broker, "signer": SIGNER, "clock": rig.clock}
    rig.open(slot, Deciding(decider(), slot, **ports, from_nothing=True))
    await until(lambda: rig.amounts(A) == [10, 20, 30])


@pytest.mark.usefixtures("later")
async def test_an_empty_store_is_filled_from_events_of_every_version(rig: Rig) -> None:
    await filled(rig)
    rig.send(Add(account=A, amount=40))
    await until(lambda: rig.amounts(A) == [10, 20, 30, 40])
    await rig.quiet()
    assert rig.parked() == []


@pytest.mark.usefixtures("later")
async def test_an_effect_asks_and_tells_of_events_of_every_version(rig: Rig) -> None:
    """Before the call and after it: what is owed is kept as the record that it was."""
    await filled(rig)
    slot, outside = Slot("tally", "receipts", EVENTS, 0), Outside()
    handler = Effecting(effect(), outside, slot, store=rig.store, log=rig.broker, signer=SIGNER, clock=rig.clock)
    handler.wake = rig.open(slot, handler).partition.wake
    await until(lambda: len(rig.amounts(A)) == 6)
    await rig.quiet()
    assert sorted(intent.data["amount"] for intent, _ in outside.asked) == [10, 20, 30]
    told = [decode_command(record.value or b"") for record in rig.broker.records(COMMANDS)]
    assert [(one.schema_version, json.loads(bytes(one.payload))["amount"]) for one in told] == [(3, -1)] * 3
    assert rig.parked() == []


async def test_an_upcaster_that_raises_parks_its_record_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def ill(old: dict[str, Any]) -> dict[str, Any]:
        raise LookupError("not today")

    monkeypatch.setattr(Add, "version", 2)
    monkeypatch.setattr(Add, "upcasts", {1: ill})
    monkeypatch.setattr("tests.streams.test_upcast.HISTORY", [(1, {"account": A, "amount": 1})])
    plant_commands(rig)
    rig.decider()
    rig.send(Add(account=A, amount=5))
    await rig.quiet()
    (parked,) = rig.parked()
    assert (parked.cause, parked.holds) == ("upcast_failed", False)
    assert "add could not be brought from version 1 to 2: LookupError('not today')" in parked.error
    assert rig.amounts(A) == [5]


# -- what is read and written on keeps what it does not know


async def test_a_redriven_and_edited_record_keeps_unknown_fields_and_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streams.inspection.contracts_of", lambda topic: SHOP.commands)
    value = command_record(1, OLD[0][1] | BEYOND).value
    told = json.loads(value) | {"trace": {"of": "a newer edge"}}
    edited = json.loads(with_payload("shop.commands", json.dumps(told).encode(), {"euros": 8}))
    assert edited == told | {"payload": OLD[0][1] | BEYOND | {"euros": 8}}
    with pytest.raises(Malformed, match="KeyError") as refused:
        with_payload("shop.commands", value, {"euros": None})
    assert refused.value.code == "upcast_failed"
    newer = json.dumps(json.loads(value) | {"schema_version": 4}).encode()
    with pytest.raises(Malformed, match="version 4 is unknown"):
        checked("shop.commands", newer, value)


def test_a_sealed_text_under_a_former_name_cannot_be_given_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.inspection.contracts_of", lambda topic: SHOP.commands)
    value = command_record(1, OLD[0][1] | {"remark": "enc1.x.y"}).value
    with pytest.raises(Malformed, match="remark is personal"):
        with_payload("shop.commands", value, {"remark": "clear"})


def test_tail_shows_records_of_every_version_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caravan.decoded.contracts_of", lambda topic: SHOP.events)
    decode = Decoder(SIGNER, ["shop.events"])
    for version, payload in [*OLD, (9, {"order": "o1", "soon": True})]:
        shown = decode(Found(Place("shop.events", 0), event_record(version, payload | BEYOND)))
        assert (shown.payload, shown.mark) == (payload | BEYOND, None)


names = st.text(min_size=1, max_size=5).filter(lambda name: name not in {"order", "euros", "cents", "currency"})
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.integers(0, 2), st.dictionaries(names, values, max_size=4))
def test_whatever_is_unknown_survives_reading_and_writing(which: int, unknown: dict[str, Any]) -> None:
    version, payload = OLD[which]
    paid = Paid.read(version, json.dumps(payload | unknown).encode())
    again = Paid.read(Paid.version, paid.to_json())
    assert json.loads(again.to_json()) == OLD[2][1] | unknown
