"""What a claim demands before it goes on: that the store and the log belong together. It never jumps."""

from streams.handler import Stop, identity
from streams.log import Log
from streams.store import Claim, Slot


async def checked(log: Log, slot: Slot, claim: Claim) -> int:
    """How many partitions the topic has, once the log reaches up to the position and holds the very record that was processed last.

    Raises Stop with the mend, or OSError while the log is away.
    """
    _, topic, partition = slot[1:]
    count = await log.partitions(topic)
    if claim.partitions is not None and count != claim.partitions:
        raise Stop(
            f"{topic} has {count} partitions, it had {claim.partitions} when the position was taken. Keys have moved: "
            "restore the topic, or drain it and start a new one."
        )
    start, end = await log.bounds(topic, partition)
    if claim.next > end:
        raise Stop(
            f"Kafka ends at offset {end} and Postgres has processed up to {claim.next}: the topic was wiped, cut off or "
            "restored from an older copy. Restore Kafka, or reset both with the same data."
        )
    if claim.next < start:
        raise Stop(
            f"Kafka begins at offset {start} and the next record to process is {claim.next}: unread records were "
            "deleted. Restore the topic, or accept the loss by moving the position."
        )
    if claim.last_id and claim.next > start:
        record = await log.read(topic, partition, claim.next - 1)
        if record is not None and identity(record) != claim.last_id:
            raise Stop(
                f"The record at offset {claim.next - 1} is not the one that was processed: this is another topic under "
                "the same name. Restore Kafka and Postgres from the same moment."
            )
    return count
