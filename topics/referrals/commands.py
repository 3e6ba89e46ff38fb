"""What users and operators may ask of referrals."""

from typing import Self

from pydantic import model_validator

from streams.contract import Command, Id, Moment, Name, Reason
from topics.referrals.terms import REFERRALS, Code, OfPayout, OfReferral, OfScheme, Source, Terms


class CreateReferralScheme(
    Terms,
    OfScheme,
    Command,
    topic=REFERRALS,
    key="program",
    roles=("Admin",),
    examples=(
        {
            "scheme_id": "friends",
            "name": "Bring a friend",
            "event": "order_paid",
            "condition": "event.total >= 1000 && event.currency == 'EUR'",
            "friend_points": 50,
            "levels": [{"points": 100}, {"points": "event.total / 200"}],
            "budget": 1_000_000,
            "hold_days": 14,
        },
        {
            "scheme_id": "ambassadors",
            "name": "Ambassadors of the town",
            "event": "voucher_redeemed",
            "levels": [{"points": 20, "commission": "event.value / 10"}],
            "budget": 500_000,
            "currency": "EUR",
            "commission_budget": 200_000,
            "payout_threshold": 5000,
            "tiers": {"gold": 150},
            "touch": "first",
            "window_days": 60,
            "approval": "manual",
        },
    ),
):
    """Define a scheme, or the next revision of one that is not closed: what it promises from then on. It counts once it is activated.

    A friend qualifies by `event` with the payload `event`, the time `at` and `user` (`user_id`, `registered_at`), if `condition` holds, within `qualify_days` of the registration. The friend gets
    `friend_points`, each of `levels` what it says. All points together are at most `budget`, all commission at most `commission_budget`; a referral that does not fit
    in gives nothing. A later revision keeps the currency and lowers no budget. `tiers` are the percentages of the commission that ambassadors of a tier get (100 if it is not there), who are paid
    from `payout_threshold` on. A link counts for `window_days` after the last click; of several of one scheme the `first` or the `last` does. A referral is approved after `hold_days`, by itself or by hand.
    An expression that cannot be evaluated on a sample of its event is refused with `bad_condition`.
    """

    @model_validator(mode="after")
    def _payable(self) -> Self:
        pays = any(level.commission != 0 for level in self.levels)
        if pays and not (self.currency and self.commission_budget and self.payout_threshold):
            raise ValueError("a commission needs currency, commission_budget and payout_threshold")
        return self


class ActivateReferralScheme(
    OfScheme,
    Command,
    topic=REFERRALS,
    key="program",
    roles=("Admin",),
    examples=({"scheme_id": "friends"}, {"scheme_id": "ambassadors"}),
    after=("create_referral_scheme",),
):
    """From now on codes of the scheme are made, and friends attributed."""


class CloseReferralScheme(
    OfScheme,
    Command,
    topic=REFERRALS,
    key="program",
    roles=("Admin",),
    examples=({"scheme_id": "ambassadors"},),
    after=("activate_referral_scheme",),
):
    """Nobody is attributed or qualifies any more, for good; who has qualified is still approved and rewarded."""


class CreateReferralCode(
    Command,
    topic=REFERRALS,
    roles=("User",),
    owner="user_id",
    examples=(
        {"user_id": "u1", "code": "ANN-INVITES", "scheme_id": "friends"},
        {"user_id": "u1", "code": "spring", "scheme_id": "ambassadors", "expires_at": "2199-06-01T00:00:00Z"},
    ),
    after=("activate_referral_scheme",),
):
    """Get a code of the caller's choice to invite friends with; for users who have registered, whose own referrer is known then.

    Pending until it is the user's, rejected with `code_taken` when it is not free.
    """

    user_id: Name
    code: Code
    scheme_id: Id
    expires_at: Moment | None = None


class TrackReferralClick(
    Command,
    topic=REFERRALS,
    key="visitor_id",
    roles=("Guest",),
    examples=({"visitor_id": "c0ffee", "code": "ANN-INVITES"},),
    after=("create_referral_code",),
):
    """Somebody followed a link; `visitor_id` is a random id that the client keeps and gives again at the registration.

    `user_id` is who is signed in there, if anybody: the links of somebody who is do not count, neither now nor later.
    """

    visitor_id: Name
    code: Code
    user_id: Name | None = None


class ApproveReferral(
    OfReferral,
    Command,
    topic=REFERRALS,
    key="referral_id",
    roles=("Admin",),
    services=("referrals",),
    examples=({"referral_id": "u2"},),  # nobody is referred by commands alone
):
    """Let the rewards of a pending or flagged referral be granted; the platform does so for pending ones when their time comes."""


class FlagReferral(
    OfReferral,
    Command,
    topic=REFERRALS,
    key="referral_id",
    roles=("Admin",),
    examples=({"referral_id": "u2", "reason": "Ordered from the same table."},),
):
    """Take a referral that is not yet approved aside, to be decided by hand."""

    reason: Reason


class VoidReferral(
    OfReferral,
    Command,
    topic=REFERRALS,
    key="referral_id",
    roles=("Admin",),
    services=("referrals",),
    examples=({"referral_id": "u2", "reason": "Both accounts are of one person."},),
):
    """End a referral for good; what was granted is clawed back. With `source`, only the one that was qualified by it."""

    reason: Reason
    source: Source | None = None


class ApplyAsAmbassador(
    Command, topic=REFERRALS, roles=("User",), owner="user_id", examples=({"user_id": "u1"}, {"user_id": "u4"})
):
    """Ask to become an ambassador, once."""

    user_id: Name


class ApproveAmbassador(
    Command,
    topic=REFERRALS,
    roles=("Admin",),
    examples=({"user_id": "u1"},),
    after=("apply_as_ambassador",),
):
    """Make who applied an ambassador of the standard tier."""

    user_id: Name


class SetAmbassadorTier(
    Command,
    topic=REFERRALS,
    roles=("Admin",),
    examples=({"user_id": "u1", "tier": "gold"},),
    after=("approve_ambassador", "create_referral_scheme"),
):
    """Move an active ambassador to a tier that some scheme knows, or back to `standard`; it counts for rewards that are granted from then on."""

    user_id: Name
    tier: Name


class RevokeAmbassador(
    Command,
    topic=REFERRALS,
    roles=("Admin",),
    examples=({"user_id": "u1", "reason": "Spam."},),
    after=("approve_ambassador",),
):
    """End it for good; what was earned can still be paid out."""

    user_id: Name
    reason: Reason


class RequestPayout(
    OfPayout,
    Command,
    topic=REFERRALS,
    key="scheme_id",
    roles=("User",),
    owner="user_id",
    examples=({"scheme_id": "ambassadors", "user_id": "u1", "payout_id": "p1"},),  # nothing is earned by commands alone
):
    """Ask for all that was earned under a scheme and not yet paid out; `below_threshold` when it is less than the scheme's threshold."""


class CompletePayout(
    OfPayout,
    Command,
    topic=REFERRALS,
    key="scheme_id",
    roles=("Admin",),
    examples=({"scheme_id": "ambassadors", "user_id": "u1", "payout_id": "p1"},),
):
    """The money is on its way."""


class FailPayout(
    OfPayout,
    Command,
    topic=REFERRALS,
    key="scheme_id",
    roles=("Admin",),
    examples=({"scheme_id": "ambassadors", "user_id": "u1", "payout_id": "p1", "reason": "No such account."},),
):
    """The money cannot be paid; it can be asked for again."""

    reason: Reason
