"""Consent: what happened to people may be used for a purpose where they agreed to it at that time.

Who agreed to what from when to when follows from the events that tell it, whatever else is read before or after them; so a rebuild gives the same. A
domain that works for a purpose keeps that in its own schema by one more projection, and its views ask for it::

    CONSENTS = consents(GOVERNANCE, given=ConsentRecorded, withdrawn=ConsentWithdrawn, target=ANALYTICS)     # agent.py
    from streams.consent import AgreedRow                                                                    # sink.py
    CREATE TABLE agreed (user_id text, purpose text, since timestamptz, until timestamptz,                   -- schema/
        PRIMARY KEY (user_id, purpose, since));
    f"SELECT count(*) FROM visit WHERE {agreed('visit.user_id', 'visit.at', 'analytics')}"                   # view.py

Whoever reads events elsewhere takes them into an `Agreement` and asks that.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from streams.agent import Projection
from streams.contract import Event, Topic
from streams.decision import State
from streams.errors import ContractError
from streams.sink import Fact, rows


class Consent(Protocol):
    """What an event about consent tells: agreed `since` then without a break, or, where it was withdrawn, until `at`."""

    @property
    def user_id(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def since(self) -> datetime: ...
    @property
    def at(self) -> datetime: ...


@rows("agreed", key=("user_id", "purpose", "since"))
class AgreedRow(NamedTuple):
    """A time in which somebody agreed to a purpose; it has no end yet while they do."""

    user_id: str
    purpose: str
    since: datetime
    until: datetime | None


def consents(source: Topic, *, given: type[Event], withdrawn: type[Event], target: Topic) -> Projection:
    """The projection that keeps `AgreedRow` in the schema of `target`; the two events tell a `Consent`."""

    def project(fact: Fact[Any], _state: Mapping[str, State]) -> Iterable[AgreedRow]:
        if not isinstance(fact.event, given | withdrawn):
            return ()
        told: Any = fact.event
        return [_row(told, isinstance(told, withdrawn))]

    return Projection("consents", source, target, project)


def agreed(user: str, at: str, purpose: str) -> str:
    """The condition, as SQL, that the user of a row agreed to the purpose at the time of the row; both are given as columns."""
    if not re.fullmatch(r"[\w.@-]{1,50}", purpose, re.ASCII):
        raise ContractError(f"{purpose!r} is no purpose.")
    return (
        f"EXISTS (SELECT FROM agreed AS a WHERE a.user_id = {user} AND a.purpose = '{purpose}'"
        f" AND a.since <= {at} AND (a.until IS NULL OR {at} < a.until))"
    )


class Agreement:
    """Who agreed to what and when, in memory."""

    def __init__(self) -> None:
        """Nobody has agreed to anything."""
        self._times: defaultdict[tuple[str, str], dict[datetime, datetime | None]] = defaultdict(dict)

    def take(self, event: Consent, *, withdrawn: bool) -> None:
        """Take an event about consent; those of a user and purpose in their order."""
        row = _row(event, withdrawn)
        self._times[row.user_id, row.purpose][row.since] = row.until

    def covers(self, user_id: str, purpose: str, at: datetime) -> bool:
        """Whether the user agreed to the purpose at that time."""
        times = self._times.get((user_id, purpose), {})
        begun = sorted(times)
        if not (n := bisect_right(begun, at)):
            return False
        until = times[begun[n - 1]]
        return until is None or at < until


def _row(event: Consent, withdrawn: bool) -> AgreedRow:
    return AgreedRow(event.user_id, event.purpose, event.since, event.at if withdrawn else None)
