"""What a claim checks before it goes on: that the store and the log belong together. A difference stops the partition with the mend."""

import pytest

from tests.streams.rig import COMMANDS, EVENTS, Rig, until
from tests.streams.tally import A, Add


@pytest.fixture
async def worked(rig: Rig) -> Rig:
    """Four commands were processed, relayed and told; nobody owns the partition now."""
    owner = rig.decider()
    for amount in (1, 2, 3, 4):
        rig.send(Add(account=A, amount=amount))
    await rig.quiet()
    await until(lambda: rig.place().relayed == 4)
    await owner.leave()
    return rig


async def stopped(rig: Rig) -> str:
    """The reason in the store, once there is one."""
    rig.decider()
    await until(lambda: rig.place().stopped)
    assert rig.place().next == 4, "the position never jumps"
    return str(rig.place().stopped)


async def test_a_log_that_ends_below_the_position_stops_it(worked: Rig) -> None:
    worked.broker.drop(COMMANDS, 0, {2, 3})
    assert "Kafka ends at offset 2 and Postgres has processed up to 4" in await stopped(worked)


async def test_a_wiped_command_topic_stops_it(worked: Rig) -> None:
    worked.broker.drop(COMMANDS, 0, {0, 1, 2, 3})
    assert "Restore Kafka" in await stopped(worked)


async def test_unread_records_that_were_deleted_stop_it(worked: Rig) -> None:
    for amount in (5, 6, 7):
        worked.send(Add(account=A, amount=amount))
    worked.broker.drop(COMMANDS, 0, range(6))
    assert "begins at offset 6 and the next record to process is 4" in await stopped(worked)


async def test_another_record_before_the_position_stops_it(worked: Rig) -> None:
    worked.broker.drop(COMMANDS, 0, {3})
    worked.send(Add(account=A, amount=400))
    assert "is not the one that was processed" in await stopped(worked)


async def test_other_partitions_than_before_stop_it(worked: Rig) -> None:
    worked.broker._topics[COMMANDS].append([])
    assert "has 3 partitions, it had 2" in await stopped(worked)


async def test_events_that_do_not_follow_upon_the_documents_stop_it(worked: Rig) -> None:
    worked.place().number = 3  # not as an older copy has it, where the documents are older too
    reason = await stopped(worked)
    assert "event number 4 of tally.events, or one just before it, cannot be taken over" in reason
    assert len(worked.events()) == 4, "nothing is decided a second time"


async def test_an_empty_event_topic_stops_it(worked: Rig) -> None:
    worked.broker.drop(EVENTS, 0, range(4))
    assert "tally.events is empty and Postgres has relayed up to number 4" in await stopped(worked)


async def test_strangers_records_behind_the_events_are_looked_past(worked: Rig) -> None:
    for value in (b"garbage", None, b'{"number": 99}'):
        worked.broker.add(EVENTS, 0, b"k", value)
    worked.decider()
    worked.send(Add(account=A, amount=5))
    await worked.quiet()
    assert worked.amounts(A) == [1, 2, 3, 4, 5]


async def test_a_stopped_partition_goes_on_when_it_is_mended(worked: Rig) -> None:
    lost = worked.broker.records(COMMANDS)[2:]
    worked.broker.drop(COMMANDS, 0, {2, 3})
    await stopped(worked)
    worked.broker._topics[COMMANDS][0].extend(lost)
    worked.send(Add(account=A, amount=5))
    await worked.quiet()
    assert worked.place().stopped is None
    assert worked.amounts(A) == [1, 2, 3, 4, 5]


async def test_the_reason_of_an_earlier_process_is_cleared(worked: Rig) -> None:
    worked.place().stopped = "It was so then."
    worked.decider()
    await until(lambda: worked.place().stopped is None)


async def test_a_stopped_partition_leaves_at_once_when_told(worked: Rig) -> None:
    worked.broker.drop(COMMANDS, 0, {2, 3})
    await stopped(worked)
    await worked.owners[-1].leave()


async def test_kafka_away_at_a_claim_delays_it(worked: Rig) -> None:
    worked.broker.before["bounds"].extend([OSError("away")] * 3)
    worked.broker.before["read"].extend([OSError("away")] * 2)
    worked.decider()
    worked.send(Add(account=A, amount=5))
    await worked.quiet()
    assert worked.amounts(A)[-1] == 5


async def test_a_record_compacted_away_before_the_position_is_no_reason_to_stop(worked: Rig) -> None:
    worked.send(Add(account=A, amount=5))
    worked.broker.drop(COMMANDS, 0, {3})
    worked.decider()
    await worked.quiet()
    assert worked.amounts(A) == [1, 2, 3, 4, 5]
