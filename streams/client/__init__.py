"""Subscriptions for analysts: typed events, or batches of them, straight from the topics; no agent, no database, no web server.

    from streams.client import subscribe
    from topics.points import PointsAwarded

    for received in subscribe(PointsAwarded):
        print(received.time, received.event.user_id, received.event.amount)

    frames = subscribe(PointsAwarded, since="2026-01-31").polars().all()
    frames[PointsAwarded].group_by("user_id").sum()

What is given is what was published, once: repeats of the relay are dropped by their numbers, and a cursor that was kept goes on where it was.
Records that are no event that this code can read (unsigned, undecodable, of a newer version) are counted in `.unread` and told to
`on_unread`. Personal values are masked unless a key service opens them.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from streams.client.asked import Asked, Since, Until, broker, wanted
from streams.client.cutting import cut
from streams.client.opening import Keys
from streams.client.places import Cursor, Cut
from streams.client.sieve import Unread
from streams.client.source import Gone
from streams.client.subscription import Options, Progress, Subscription
from streams.client.typed import Received
from streams.contract import Event

__all__ = ["Cursor", "Cut", "Gone", "Keys", "Progress", "Received", "Subscription", "Unread", "cut", "subscribe"]

E = TypeVar("E", bound=Event)


@overload
def subscribe(
    *asked: type[E],
    since: Since = ...,
    until: Until = ...,
    keys: Keys | None = ...,
    on_unread: Callable[[Unread], None] | None = ...,
    core: bool = ...,
    signing_keys: Sequence[tuple[str, bytes]] = ...,
    kafka: str | None = ...,
    namespace: str | None = ...,
) -> Subscription[E]: ...


@overload
def subscribe(
    *asked: Asked,
    since: Since = ...,
    until: Until = ...,
    keys: Keys | None = ...,
    on_unread: Callable[[Unread], None] | None = ...,
    core: bool = ...,
    signing_keys: Sequence[tuple[str, bytes]] = ...,
    kafka: str | None = ...,
    namespace: str | None = ...,
) -> Subscription[Event]: ...


def subscribe(
    *asked: Asked,
    since: Since = "earliest",
    until: Until = "now",
    keys: Keys | None = None,
    on_unread: Callable[[Unread], None] | None = None,
    core: bool = False,
    signing_keys: Sequence[tuple[str, bytes]] = (),
    kafka: str | None = None,
    namespace: str | None = None,
) -> Subscription[Event]:
    """Events of these classes, or all of these topics, as `subscribe(PointsAwarded, VoucherPurchased)` or `subscribe("points.events")`.

    `since` is `earliest`, `now`, a time, offsets, a cut, or the cursor of an earlier subscription; `until` is `now`, `live` (for ever), a time,
    offsets or a cut. `keys` opens personal values (`sinks.postgres.keys.SubjectKeys` is one); `on_unread` is told of every record that is
    not given; `core` also gives `command_accepted` and `command_rejected`. An analyst has no key of the platform: signatures are checked
    only where `signing_keys` are given; without them you trust whoever may write to the topic. Connects when it is iterated over.

    Raises CaravanError here for what there is not, and while iterating when Kafka is away; Gone where records are missing.
    """
    topics = wanted(asked)
    settings = broker(kafka, namespace, signing_keys)
    return Subscription(settings, topics, Options(since, until, keys, on_unread, core))
