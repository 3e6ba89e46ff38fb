"""What points are asked to do."""

from typing import Self

from pydantic import BaseModel, JsonValue, model_validator

from streams.contract import Command, Moment, Name, Reason, Text
from streams.envelope import Actor
from streams.personal import Personal
from topics.points.terms import POINTS, Change, Entry, Lots, OfProgram, OfRule, Points, RuleTerms, TierTerms


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
    examples=(
        {"user_id": "u1", "amount": 10, "reference": "order-1"},
        {"user_id": "u1", "amount": 15, "reference": "order-2", "spend_id": "s1"},
    ),
    after=("award_points",),
):
    """Spend points at once; `reference` says on what. With a `spend_id` it is done once only, and can be taken back."""

    user_id: Name
    amount: Points
    reference: Name | None = None
    spend_id: Name | None = None


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
    """Take away what has expired, and unlock what was pending, as is due; the platform does so when the time comes. Nothing may be due."""

    user_id: Name


class ReversePointsEntry(
    Command,
    topic=POINTS,
    roles=("Admin",),
    services=("points",),
    examples=(
        {"user_id": "u1", "entry": "award/first_quest/quest-17", "reason": "Awarded by mistake."},
        {"user_id": "u1", "entry": "spend/s1", "amount": 5, "reason": "A part was sent back."},
    ),
    after=("spend_points",),
):
    """Take back an award, or give back what was spent, once: all of it or `amount`, never more.

    Of an award, what the user no longer has is owed: what comes in is taken for it until nothing is.
    """

    user_id: Name
    entry: Entry
    amount: Points | None = None
    reason: Reason


class AdjustPoints(
    Command,
    topic=POINTS,
    roles=("Admin",),
    examples=({"user_id": "u1", "amount": -5, "reason": "Counted twice at the desk."},),
    after=("award_points",),
):
    """Correct a balance by hand: so many points more, or less but never below nothing."""

    user_id: Name
    amount: Change
    reason: Reason


class ObserveEvent(Command, topic=POINTS, services=("points",)):
    """Something happened to the user: give what the program's rules say for it. `source` is what is rewarded once by each rule.

    `base` is the money behind it, of which a refund may be a part.
    """

    user_id: Name
    event: Name
    source: Name
    occurred_at: Moment
    facts: dict[str, JsonValue]
    base: Points | None = None


class RefundSource(Command, topic=POINTS, services=("points",)):
    """So much of the money behind a source went back to the user: the awards for it are taken back in the same proportion."""

    user_id: Name
    event: Name
    source: Name
    amount: Points


class ReviewTier(
    Command,
    topic=POINTS,
    roles=("Admin",),
    services=("points",),
    examples=({"user_id": "u1"},),
):
    """Give a user the tier that is due by the program's tiers as they are now; the platform does so when a period ends."""

    user_id: Name


class DefinePointsRule(
    OfRule,
    RuleTerms,
    Command,
    topic=POINTS,
    key="program",
    roles=("Admin",),
    examples=(
        {"rule_id": "redeemed", "event": "promotions.voucher_redeemed", "amount": 5},
        {
            "rule_id": "orders",
            "event": "commerce.order_paid",
            "condition": "event.currency == 'EUR' && event.total >= 1000",
            "amount": "event.total / 100",
            "cap_per_day": 500,
            "validity": 365,
            "pending": 14,
        },
    ),
):
    """Say for which event of any domain (`commerce.order_paid`) its user gets points; it counts once it is activated.

    Condition and formula are CEL on `event`, its payload without personal data; `user`, with `id`, `tier` and `available`; and `at`, when it
    happened. They are tried first, and refused as `bad_condition` if they fail. An amount below 1 is nothing. A user gets at most `cap_per_day` for what
    happened on one day (UTC) and `cap_per_user` in all; an award is cut to what is left. It is unlocked `pending` days later and expires `validity` days later, both at the
    end of that day; after more than 31 days, at the end of that month. A rule that is defined again keeps its event, and the revision before counts until
    this one is activated.
    """

    @model_validator(mode="after")
    def _unlocked_before_it_expires(self) -> Self:
        if self.pending and self.validity and self.pending >= self.validity:
            raise ValueError("points are unlocked before they expire")
        return self


class ActivatePointsRule(
    OfRule,
    Command,
    topic=POINTS,
    key="program",
    roles=("Admin",),
    examples=({"rule_id": "redeemed"}, {"rule_id": "orders"}),
    after=("define_points_rule",),
):
    """From now on the rule counts, in the revision that was defined last."""


class DeactivatePointsRule(
    OfRule,
    Command,
    topic=POINTS,
    key="program",
    roles=("Admin",),
    examples=({"rule_id": "redeemed"}, {"rule_id": "sign_up"}),
    after=("activate_points_rule",),
):
    """The rule gives nothing more until it is activated again."""


class DefineTiers(
    OfProgram,
    TierTerms,
    Command,
    topic=POINTS,
    key="program",
    roles=("Admin",),
    examples=(
        {
            "tiers": [
                {"tier_id": "silver", "name": "Silver", "points": 1000},
                {"tier_id": "gold", "name": "Gold", "points": 5000},
            ],
            "period": 365,
        },
    ),
):
    """Say which tiers there are. Points awarded under a rule are earned, what is taken back of them no longer.

    With a period, a user's first begins with the first points earned, and the next one when it ends; what was earned in this period or in the one before
    counts, whichever is more. A user has the tiers as they are now at the next award, reversal or end of a period.
    """

    @model_validator(mode="after")
    def _rising(self) -> Self:
        steps = [tier.points for tier in self.tiers]
        if steps != sorted(set(steps)) or len({tier.tier_id for tier in self.tiers}) != len(steps):
            raise ValueError("each tier has an id of its own and needs more points than the one before")
        return self
