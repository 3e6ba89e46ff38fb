"""What a command leaves is the same to the last byte whichever code decided it: replay, readers and the inbox compare it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streams.clock import BOUND, SystemClock, VirtualClock, bounded
from streams.envelope import Actor
from streams.testing import Kit
from tests.streams.tally import Add, How, decider

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
AT = datetime(2023, 6, 30, 1, 2, 3, 456789, UTC)
FIRST, SECOND = "01890a5d-ac96-8958-8284-e314b31637c6", "01890a5d-ac96-8ee4-804e-43feab0a21ae"
ADDED = '"payload":{"account":"a","amount":1,"note":"","how":"well"}'
LAST, LAST_OF_TWO = '"closes":{"command":"add"},', '"closes":{"command":"add","events":2},'
MANY, DENY, PEND = (
    "cf4397ba4f1825909d78e171b1f8398d",
    "4644910a4e376e5bdf180bb7878f0a22",
    "99688eac9732d55b7b8c178998e7c6ab",
)


def event(event_id: str, name: str, seq: int, number: int, digest: str, end: str) -> str:
    return (
        f'{{"event_id":"{event_id}","type":"{name}","schema_version":1,"occurred_at":"2023-06-30T01:02:03.456789Z","domain":"tally",'
        f'"aggregate_id":"a","aggregate_seq":{seq},"actor":{{"type":"user","id":"ann","role":"User"}},"command_id":"{ID}",'
        f'"correlation_id":"{ID}","causation_id":"{ID}","number":{number},"source":{{"partition":0,"offset":0,"hash":"{digest}"}},{end}}}'
    )


@pytest.mark.parametrize(
    ("how", "amount", "told", "result"),
    [
        (
            "many",
            2,
            [event(FIRST, "added", 1, 1, MANY, ADDED), event(SECOND, "added", 2, 2, MANY, LAST_OF_TWO + ADDED)],
            ("accepted", None, None, f'[["{FIRST}","added"],["{SECOND}","added"]]', MANY),
        ),
        (
            "deny",
            7,
            [
                event(
                    "01890a5d-ac96-8534-9d1a-4e68b33ad5c0", "command_rejected", 0, 1, DENY,
                    '"outcome":{"status":"rejected","code":"denied","http":422,"details":{"amount":7}},' + LAST + '"payload":{}',
                )
            ],
            ("rejected", "denied", '{"status":422,"details":{"amount":7}}', "[]", DENY),
        ),
        (
            "pend",
            1,
            [event(FIRST, "added", 1, 1, PEND, '"outcome":{"status":"pending"},' + LAST + ADDED)],
            ("pending", None, None, f'[["{FIRST}","added"]]', PEND),
        ),
    ],
)  # fmt: skip
def test_events_and_result_never_change(how: How, amount: int, told: list[str], result: tuple[str | None, ...]) -> None:
    with Kit(decider(), clock=VirtualClock(AT - datetime.now(UTC))) as kit:
        kit.send(Add(account="a", amount=amount, how=how), actor=Actor("user", "ann", "User"), command_id=ID, at=AT)
        assert [(record.value or b"").decode() for record in kit.broker.records("tally.events")] == told
        assert kit.result(ID) == (ID, *result, "user:ann", 0, 0)


@given(st.timedeltas(-2 * BOUND, 2 * BOUND), st.sampled_from([timedelta(), timedelta(minutes=4)]))
@example(BOUND + timedelta(microseconds=1), timedelta())
@example(-BOUND - timedelta(microseconds=1), timedelta())
@example(timedelta(minutes=-6), timedelta(minutes=4))
def test_a_time_is_kept_within_the_bound_of_the_brokers_to_the_microsecond(off: timedelta, ahead: timedelta) -> None:
    clock = VirtualClock(ahead) if ahead else SystemClock()
    taken = AT.replace(microsecond=456000)
    told = taken + ahead + off
    broker_ms = round(taken.timestamp() * 1000)
    assert bounded(told, broker_ms, clock) == min(max(told, taken + ahead - BOUND), taken + ahead + BOUND)
