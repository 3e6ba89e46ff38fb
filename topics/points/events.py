"""What has happened to points."""

from typing import Annotated

from pydantic import Field

from streams.contract import Event, Moment, Name, Reason, Text
from streams.personal import Personal
from topics.points.terms import (
    MAX_POINTS,
    POINTS,
    Change,
    Entry,
    Id,
    Lot,
    Lots,
    OfProgram,
    OfRule,
    Points,
    RuleTerms,
    TierTerms,
)


class PointsAwarded(Event, topic=POINTS):
    user_id: Name
    amount: Points
    rule: Name | None = None
    source: Name | None = None
    expires_at: Moment | None = None

    @property
    def lots(self) -> Lots:
        """As other events tell it."""
        return () if self.expires_at is None else (Lot(expires_at=self.expires_at, amount=self.amount),)


class PointsExpired(Event, topic=POINTS):
    """Points were not used in time."""

    user_id: Name
    amount: Points
    lots: Lots


class PointsSpent(Event, topic=POINTS):
    user_id: Name
    amount: Points
    reference: Name | None = None
    spend_id: Name | None = None
    lots: Lots = ()


class PointsSpendRejected(Event, topic=POINTS):
    """A spend, hold or transfer asked for more than there is; `code` is `insufficient`, `hold_id` that of a hold."""

    user_id: Name
    amount: Points
    available: int
    code: Name
    hold_id: Name | None = None


class PointsHeld(Event, topic=POINTS):
    user_id: Name
    hold_id: Name
    amount: Points
    lots: Lots = ()


class PointsHoldCaptured(Event, topic=POINTS):
    user_id: Name
    hold_id: Name
    amount: Points
    lots: Lots = ()


class PointsHoldReleased(Event, topic=POINTS):
    user_id: Name
    hold_id: Name
    amount: Points
    lots: Lots = ()


class PointsTransferStarted(Event, topic=POINTS):
    """The points left the sender and are in transit; `command_id` is the command that waits for the end."""

    user_id: Name
    transfer_id: Name
    to: Name
    amount: Points
    note: Personal[Text] | None = None
    command_id: Name
    lots: Lots = ()


class PointsTransferReceived(Event, topic=POINTS):
    """The points arrived; `user_id` is the recipient."""

    user_id: Name
    transfer_id: Name
    sender: Name
    amount: Points
    note: Personal[Text] | None = None
    lots: Lots = ()


class PointsTransferDeclined(Event, topic=POINTS):
    """The recipient, `user_id`, cannot take the points; `code` says why."""

    user_id: Name
    transfer_id: Name
    sender: Name
    amount: Points
    code: Name


class PointsTransferred(Event, topic=POINTS):
    """The sender's end of a transfer that arrived."""

    user_id: Name
    transfer_id: Name
    to: Name
    amount: Points
    lots: Lots = ()


class PointsTransferReturned(Event, topic=POINTS):
    """The sender's end of a transfer that came back."""

    user_id: Name
    transfer_id: Name
    to: Name
    amount: Points
    code: Name
    lots: Lots = ()


class PointsRuleApplied(OfRule, Event, topic=POINTS):
    """The rule rewards the user for a source; `points_awarded` follows, of so many points."""

    user_id: Name
    revision: int
    event: Name
    source: Name
    occurred_at: Moment
    amount: Points
    base: Points | None = None


class PointsRuleFailed(OfRule, Event, topic=POINTS):
    """The rule could not be applied to a source, which gets nothing by it; `words` say why."""

    user_id: Name
    revision: int
    event: Name
    source: Name
    words: Text


class PointsLocked(Event, topic=POINTS):
    """What was just awarded is pending until `unlocks_at`."""

    user_id: Name
    rule: Name
    source: Name
    amount: Points
    unlocks_at: Moment
    lots: Lots = ()


class PointsUnlocked(Event, topic=POINTS):
    """All that was pending until `unlocks_at` or earlier is available."""

    user_id: Name
    amount: Points
    unlocks_at: Moment
    lots: Lots = ()


class PointsReversed(Event, topic=POINTS):
    """An entry was taken back: `owed` of the amount was no longer there. It was still pending until `unlocks_at` if that is given."""

    user_id: Name
    entry: Entry
    amount: Points
    reason: Reason
    owed: Annotated[int, Field(strict=True, ge=0, le=MAX_POINTS)] = 0
    unlocks_at: Moment | None = None
    lots: Lots = ()


class PointsOwedCollected(Event, topic=POINTS):
    """Of what came in, so much was taken for what the user owed."""

    user_id: Name
    amount: Points
    lots: Lots = ()


class PointsSourceRefunded(Event, topic=POINTS):
    """So much of the money behind a source went back; `points_reversed` follows for what was awarded for it."""

    user_id: Name
    source: Name
    amount: Points


class PointsAdjusted(Event, topic=POINTS):
    user_id: Name
    amount: Change
    reason: Reason
    lots: Lots = ()


class TierPeriodStarted(Event, topic=POINTS):
    """The user's period of this number has begun, and ends at `until`; without it none runs until points are earned."""

    user_id: Name
    period: int
    until: Moment | None


class TierUpgraded(Event, topic=POINTS):
    """The user has a higher tier; `points` are those that count for it."""

    user_id: Name
    tier: Id
    previous: Id | None
    points: int


class TierDowngraded(Event, topic=POINTS):
    """The user has a lower tier, or none."""

    user_id: Name
    tier: Id | None
    previous: Id
    points: int


class PointsRuleDefined(OfRule, RuleTerms, Event, topic=POINTS, key="program"):
    """There is this revision of a rule; it counts once it is activated. What it says was judged when it was defined."""

    condition: Text
    amount: Points | Text
    revision: int


class PointsRuleActivated(OfRule, Event, topic=POINTS, key="program"):
    event: Name
    revision: int


class PointsRuleDeactivated(OfRule, Event, topic=POINTS, key="program"):
    event: Name
    revision: int


class TiersDefined(OfProgram, TierTerms, Event, topic=POINTS, key="program"):
    revision: int
