"""Points: the soft currency. Everything is keyed by the user whose account it is about."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from streams.contract import Command, Event, Name, Text, Topic
from streams.personal import Personal

MAX_POINTS = 2**53 - 1  # the largest integer that every JSON reader keeps exact

Points = Annotated[int, Field(strict=True, ge=1, le=MAX_POINTS)]
"""An amount of points: whole, positive."""

POINTS = Topic("points", key="user_id")


class AwardPoints(
    Command,
    topic=POINTS,
    roles=("Admin",),
    examples=(
        {"user_id": "u1", "amount": 100},
        {"user_id": "u1", "amount": 50, "rule": "first_quest", "source": "quest-17"},
    ),
):
    """Give points to a user. With `rule` and `source`, what was rewarded and by which rule, it is given once only."""

    user_id: Name
    amount: Points
    rule: Name | None = None
    source: Name | None = None

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


class HoldPoints(
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    examples=(
        {"user_id": "u1", "hold_id": "h1", "amount": 20},
        {"user_id": "u1", "hold_id": "h2", "amount": 5},
    ),
    after=("award_points",),
):
    """Set points aside under an id of the caller's choice, to be captured or released later."""

    user_id: Name
    hold_id: Name
    amount: Points


class CaptureHold(
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "hold_id": "h1"},),
    after=("hold_points",),
):
    """Spend what was held."""

    user_id: Name
    hold_id: Name


class ReleaseHold(
    Command,
    topic=POINTS,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "hold_id": "h2"},),
    after=("hold_points",),
):
    """Make what was held available again."""

    user_id: Name
    hold_id: Name


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


class CompleteTransfer(Command, topic=POINTS, services=("points",)):
    """Last step of a transfer that arrived, at the sender."""

    user_id: Name
    transfer_id: Name


class ReturnTransfer(Command, topic=POINTS, services=("points",)):
    """Last step of a transfer that the recipient could not take, at the sender; `code` says why."""

    user_id: Name
    transfer_id: Name
    code: Name


class PointsAwarded(Event, topic=POINTS):
    user_id: Name
    amount: Points
    rule: Name | None = None
    source: Name | None = None


class PointsSpent(Event, topic=POINTS):
    user_id: Name
    amount: Points
    reference: Name | None = None


class PointsSpendRejected(Event, topic=POINTS):
    """A spend, hold or transfer asked for more than there is; `code` is `insufficient`."""

    user_id: Name
    amount: Points
    available: int
    code: Name


class PointsHeld(Event, topic=POINTS):
    user_id: Name
    hold_id: Name
    amount: Points


class PointsHoldCaptured(Event, topic=POINTS):
    user_id: Name
    hold_id: Name
    amount: Points


class PointsHoldReleased(Event, topic=POINTS):
    user_id: Name
    hold_id: Name
    amount: Points


class PointsTransferStarted(Event, topic=POINTS):
    """The points left the sender and are in transit; `command_id` is the command that waits for the end."""

    user_id: Name
    transfer_id: Name
    to: Name
    amount: Points
    note: Personal[Text] | None = None
    command_id: Name


class PointsTransferReceived(Event, topic=POINTS):
    """The points arrived; `user_id` is the recipient."""

    user_id: Name
    transfer_id: Name
    sender: Name
    amount: Points
    note: Personal[Text] | None = None


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


class PointsTransferReturned(Event, topic=POINTS):
    """The sender's end of a transfer that came back."""

    user_id: Name
    transfer_id: Name
    to: Name
    amount: Points
    code: Name
