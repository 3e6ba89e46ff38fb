"""The kit for authors of domains: the shipped loop without a broker or a database."""

from datetime import timedelta
from uuid import UUID

from streams.clock import VirtualClock
from streams.envelope import Actor
from streams.testing import Kit, user
from tests.streams.tally import ECHO, A, Add, Added, Sum, decider


def test_a_command_tells_what_became_of_it() -> None:
    with Kit(decider()) as kit:
        told = kit.send(Add(account=A, amount=3))
        assert (told.status, told.code, told.events) == ("accepted", None, [Added(account=A, amount=3)])
        told = kit.send(Add(account=A, amount=3, how="deny"))
        assert (told.status, told.code, told.details) == ("rejected", "denied", {"amount": 3})
        assert kit.state(A) == Sum(3, 1)
        assert kit.state("nobody") == Sum()
        assert kit.rows("totals") == [(A, 3)]
        assert [row[:3] for row in kit.rows("entries")] == [(A, 1, 3)]


def test_a_record_that_cannot_be_processed_is_parked() -> None:
    with Kit(decider()) as kit:
        assert kit.send(Add(account=A, amount=1, how="raise")).status == "parked"
        assert kit.send(Add(account=A, amount=1)).status == "parked"
        assert [parked.cause for parked in kit.parked()] == ["rule_failed", "held"]
        kit.broker.add("tally.commands", 0, b"k", b"garbage")
        kit.settle()
        assert kit.parked()[-1].cause == "unsigned"


def test_rights_are_checked_as_in_the_agent() -> None:
    with Kit(decider()) as kit:
        assert kit.send(Add(account=A, amount=1), actor=user("u1", "Guest")).code == "forbidden"
        assert kit.send(Add(account=A, amount=1), actor=Actor("service", "tally")).status == "accepted"


def test_a_repeated_id_changes_nothing() -> None:
    with Kit(decider()) as kit:
        kit.send(Add(account=A, amount=1))
        (command_id,) = kit.store.schemas["tally"].results
        assert isinstance(command_id, UUID)
        assert kit.send(Add(account=A, amount=1), command_id=command_id).events == []
        assert kit.rows("totals") == [(A, 1)]


def test_policies_run_until_nothing_is_left_to_do() -> None:
    with Kit(decider(), ECHO) as kit:
        assert len(kit.send(Add(account=A, amount=1, how="echo")).events) == 17


def test_a_rebuild_from_events_alone_gives_the_same_rows() -> None:
    with Kit(decider()) as kit:
        for amount in range(5):
            kit.send(Add(account=A, amount=amount, how="many"))
        rebuilt = kit.rebuilt()
        assert rebuilt.schemas["tally"].rows == kit.store.schemas["tally"].rows


def test_time_is_the_clocks_and_never_goes_back_for_a_key() -> None:
    clock = VirtualClock()
    with Kit(decider(), clock=clock) as kit:
        clock.advance(timedelta(days=365))
        kit.send(Add(account=A, amount=1))
        kit.send(Add(account=A, amount=2), at=clock.now() - timedelta(hours=2))
        first, second = (envelope.occurred_at for envelope in kit.envelopes())
        assert first <= second <= clock.now()
        kit.send(Add(account=A, amount=3), at=clock.now() + timedelta(hours=2))
        assert kit.envelopes()[-1].occurred_at <= clock.now() + timedelta(minutes=6)


def test_a_rebuild_passes_commands_that_changed_nothing() -> None:
    """Their records move its position and nothing else, which is written later."""
    with Kit(decider()) as kit:
        kit.send(Add(account=A, amount=1, how="deny"))
        assert kit.rebuilt().schemas["tally"].rows == {}


def test_what_is_parked_is_redriven_or_skipped_as_an_operator_asks() -> None:
    with Kit(decider()) as kit:
        for how in ("raise", "well", "raise", "well"):
            kit.send(Add(account=A, amount=1, how=how))
        status, outcome = kit.ask("redrive", kit.parked()[0])
        assert (status, outcome[:19]) == ("done", "0 records were run.")
        status, outcome = kit.ask("skip", kit.parked()[0])
        assert (status, outcome[:49]) == ("done", "It was skipped. Behind it 1 record was run. The o")
        assert [parked.cause for parked in kit.parked()] == ["rule_failed", "held"]
        assert kit.ask("skip", kit.parked()[0]) == ("done", "It was skipped. Behind it 1 record was run.")
        assert kit.parked() == []
        assert kit.rows("totals") == [(A, 2)]
