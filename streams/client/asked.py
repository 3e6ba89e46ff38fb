"""What a subscription is asked for, made plain: which types of which topics, from where, up to where, on which Kafka."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from streams import discover
from streams.client.places import Cursor, Cut, Offsets, of_offsets
from streams.contract import Event, Topic
from streams.errors import CaravanError, SettingsError
from streams.reading import Place
from streams.settings import Settings

EARLIEST, NOW, LIVE = "earliest", "now", "live"

Asked = type[Event] | Topic | str
"""An event class, or all events of a topic: its contract or its name."""

Since = str | datetime | Cursor | Cut | Offsets
"""`earliest`, `now`, a time, a cursor, a cut or offsets. A time is that of the records, when the broker got them."""

Until = str | datetime | Cut | Offsets
"""`now` (what is there when reading begins), `live` (go on for ever), a time, a cut or offsets."""


@dataclass(frozen=True)
class Wanted:
    """What is wanted of one topic: types by name; `every` one, also such as no contract declares."""

    topic: Topic
    kinds: Mapping[str, type[Event]]
    every: bool

    @property
    def name(self) -> str:
        """The topic's name, without namespace."""
        return self.topic.events_topic


def wanted(asked: Sequence[Asked]) -> dict[str, Wanted]:
    """By the topic's name. Raises CaravanError for nothing, and for a name of nothing."""
    if not asked:
        raise CaravanError("Say what to subscribe to, as in subscribe(PointsAwarded) or subscribe('points.events').")
    found: dict[str, Wanted] = {}
    for one in asked:
        topic = _topic(one)
        before = found.get(topic.events_topic, Wanted(topic, {}, every=False))
        every = not isinstance(one, type)
        named = {one.wire_name: one} if isinstance(one, type) else {}
        kinds = topic.events if every or before.every else {**before.kinds, **named}
        found[topic.events_topic] = Wanted(topic, kinds, every=every or before.every)
    return found


def _topic(one: Asked) -> Topic:
    if isinstance(one, Topic):
        return one
    if isinstance(one, type):
        return one.topic
    domain, _, kind = one.partition(".")
    if kind not in ("", "events") or domain not in discover.domains():
        known = ", ".join(f"{name}.events" for name in discover.domains())
        raise CaravanError(f"There are no events '{one}'; give event classes, or some of {known}.")
    return discover.topic(domain)


def begin(since: Since) -> datetime | Mapping[Place, int] | Cursor | str:
    """What was asked for: `earliest`, `now`, a time, a cursor, or offsets by place. Raises CaravanError."""
    if isinstance(since, Cursor | Cut | datetime):
        return since
    if not isinstance(since, str):
        return of_offsets(since)
    if since in {EARLIEST, NOW}:
        return since
    if since.startswith("{"):
        return _text(since)
    try:
        return datetime.fromisoformat(since)
    except ValueError:
        raise CaravanError(f"since={since!r} is neither 'earliest', 'now', a time, a cursor nor a cut.") from None


def _text(text: str) -> Cursor | Cut:
    try:
        return Cut.parse(text) if "cut" in json.loads(text) else Cursor.parse(text)
    except ValueError as error:
        raise CaravanError(f"This is neither a cursor nor a cut: {text[:80]}") from error


def end(until: Until) -> datetime | Mapping[Place, int] | str:
    """What was asked for: `now`, `live`, a time, or offsets by place. Raises CaravanError."""
    if isinstance(until, Cut | datetime):
        return until
    if not isinstance(until, str):
        return of_offsets(until)
    if until in {NOW, LIVE}:
        return until
    if until.startswith("{"):
        return Cut.parse(until)
    try:
        return datetime.fromisoformat(until)
    except ValueError:
        raise CaravanError(f"until={until!r} is neither 'now', 'live', a time nor a cut.") from None


def milliseconds(at: datetime) -> int:
    """The Unix time; UTC unless the time says."""
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def broker(
    kafka: str | None, namespace: str | None, keys: Sequence[tuple[str, bytes]], env: Mapping[str, str] = os.environ
) -> Settings:
    """What a reader needs to know: the URL as given, else CARAVAN_KAFKA, else that of the instance that was started here.

    Raises SettingsError.
    """
    url = kafka or env.get("CARAVAN_KAFKA") or _here(Path(env.get("CARAVAN_DATA_DIR", ".caravan")))
    prefix = env.get("CARAVAN_NAMESPACE", "") if namespace is None else namespace
    return Settings(kafka=url, postgres="", signing_keys=tuple(keys), namespace=prefix)


def _here(folder: Path) -> str:
    try:
        port = json.loads((folder / "run.json").read_text("utf-8"))["kafka_port"]
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            f"No Kafka to read from: give kafka='kafka://HOST:PORT', set CARAVAN_KAFKA, or start an instance with `caravan up` ({folder})."
        ) from error
    return f"kafka://127.0.0.1:{port}"
