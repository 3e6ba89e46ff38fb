"""Points: the soft currency. Everything is keyed by the user whose account it is about."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from streams.contract import Command, Event, Moment, Name, Text, Topic
from streams.envelope import Actor
from streams.personal import Personal

MAX_POINTS = 2**53 - 1  # the largest integer that every JSON reader keeps exact

Points = Annotated[int, Field(strict=True, ge=1, le=MAX_POINTS)]
"""An amount of points: whole, positive."""

POINTS = Topic("points", key="user_id")


class Lot(BaseModel):
    """Points that expire together."""

    model_config = ConfigDict(frozen=True)

    expires_at: Moment
    amount: Points


Lots = tuple[Lot, ...]
"""What expires of an amount of points, earliest first; the rest of the amount does not expire."""


class AwardPoints(
    Command,
    topic=POINTS,
    roles=("Admin",),
    services=("points",),
    examples=(
        {"user_id": "u1", "amount": 100},
        {"user_id": "u1", "amount": 50, "rule": "first_quest", "source": "quest-17"},
        {"user_id": "u1", "amount": 20, "expires_at": "2199-12-31T00:00:00Z"},
    ),
):
    """Give points to a user, for ever or until `expires_at`.

    With `rule` and `source`, what was rewarded and by which rule, it is given once only.
    """

    user_id: Name
    amount: Points
    rule: Name | None = None
    source: Name | None = None
    expires_at: Moment | None = None

    @model_validator(mode="after")
    def _rewarded(self) -> Self:
        if (self.rule is None) != (self.source is None):
            raise ValueError("rule and source come together")
        return self


class SpendPoints(
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "amount": 10, "reference": "order-1"},),
    after=("award_points",),
):
    """Spend points at once; `reference` says on what."""

    user_id: Name
    amount: Points
    reference: Name | None = None


class OfHold(BaseModel):
    """What is about a hold. An id with a colon, such as `voucher:c1:v1`, is of one that another domain asked for: nobody else may make or end it."""

    user_id: Name
    hold_id: Name

    def may_be_issued_by(self, actor: Actor) -> bool:
        """As declared; the platform's own holds are its own."""
        ours = ":" not in self.hold_id or actor.type == "service"
        return ours and super().may_be_issued_by(actor)  # type: ignore[misc]  # the command's, which comes next


class HoldPoints(
    OfHold,
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    services=("points",),
    examples=(
        {"user_id": "u1", "hold_id": "h1", "amount": 20},
        {"user_id": "u1", "hold_id": "h2", "amount": 5},
    ),
    after=("award_points",),
):
    """Set points aside under an id of the caller's choice without a colon, to be captured or released later."""

    amount: Points


class CaptureHold(
    OfHold,
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    services=("points",),
    examples=({"user_id": "u1", "hold_id": "h1"},),
    after=("hold_points",),
):
    """Spend what was held."""


class ReleaseHold(
    OfHold,
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    services=("points",),
    examples=({"user_id": "u1", "hold_id": "h2"},),
    after=("hold_points",),
):
    """Make what was held available again."""


class TransferPoints(
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "transfer_id": "t1", "to": "u2", "amount": 25, "note": "Happy birthday!"},),
    after=("award_points",),
):
    """Send points to another user under an id of the caller's choice; pending until they arrived or came back."""

    user_id: Name
    transfer_id: Name
    to: Name
    amount: Points
    note: Personal[Text] | None = None

    @model_validator(mode="after")
    def _between_two(self) -> Self:
        if self.to == self.user_id:
            raise ValueError("a transfer needs another user")
        return self


class CreditTransfer(Command, topic=POINTS, services=("points",)):
    """Second step of a transfer, at the recipient."""

    user_id: Name
    transfer_id: Name
    sender: Name
    amount: Points
    note: Personal[Text] | None = None
    lots: Lots = ()


class CompleteTransfer(Command, topic=POINTS, services=("points",)):
    """Last step of a transfer that arrived, at the sender."""

    user_id: Name
    transfer_id: Name


class ReturnTransfer(Command, topic=POINTS, services=("points",)):
    """Last step of a transfer that the recipient could not take, at the sender; `code` says why."""

    user_id: Name
    transfer_id: Name
    code: Name


class ExpirePoints(
    Command,
    topic=POINTS,
    roles=("Admin",),
    services=("points",),
    examples=({"user_id": "u1"},),
    after=("award_points",),
):
    """Take away what has expired of the points available; the platform does so when the time comes. Nothing may be due."""

    user_id: Name


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
