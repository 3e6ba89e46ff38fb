"""What is known of users, codes, visitors, schemes and their rewards, as documents."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from streams.decision import State
from topics.referrals import MAIN, STANDARD

REFERRAL, EARLY, CODE, VISITOR, SCHEMES, BANK = "referral", "early", "code", "visitor", "schemes", "bank"
DEFINITIONS = f"{MAIN}/{SCHEMES}"  # where all keys find the schemes

Documents = Mapping[str, Any]
"""The key's documents by sub-key; `table.py` says which class stands under which word."""


class Member(State, frozen=True, omit_defaults=True):
    """A user: who brought them, `upline[0]` by whom and so on, and what tells who they are (kind and hash).

    The upline is settled for ever when the user registers.
    """

    registered_at: datetime | None = None
    upline: tuple[str, ...] = ()
    signals: tuple[tuple[str, str], ...] = ()
    codes: int = 0
    ambassador: Literal["none", "applied", "active", "revoked"] = "none"
    tier: str = STANDARD


class Portion(msgspec.Struct, frozen=True, array_like=True):
    """What somebody is to get, or has got, for a referral."""

    level: int
    user_id: str
    points: int
    commission: int = 0


class Referral(State, frozen=True, omit_defaults=True):
    """How a user was brought, and what became of it; `depth` levels above can be rewarded, `source` is what they qualified by, `reason` why it was flagged or voided."""

    status: Literal["none", "attributed", "qualified", "pending", "flagged", "approved", "voided"] = "none"
    referrer_id: str = ""
    scheme_id: str = ""
    depth: int = 0
    code: str = ""
    touch: str = ""
    attributed_at: datetime | None = None
    source: str | None = None
    reason: str | None = None
    qualified_at: datetime | None = None
    approve_at: datetime | None = None
    shares: tuple[Portion, ...] = ()


class Act(msgspec.Struct, frozen=True):
    """Something that a user did."""

    event: str
    source: str
    occurred_at: datetime
    facts: Mapping[str, Any]


class Early(State, frozen=True):
    """What a user did of which was told before the registration was, oldest first."""

    acts: tuple[Act, ...] = ()


class Request(State, frozen=True):
    """A code that a user wants or has; `command_id` waits for it."""

    status: Literal["none", "pending", "confirmed", "failed"] = "none"
    command_id: str = ""


class Code(State, frozen=True):
    """Whose a code is, and who is above them."""

    user_id: str = ""
    scheme_id: str = ""
    upline: tuple[str, ...] = ()
    expires_at: datetime | None = None


class Touch(msgspec.Struct, frozen=True):
    """How a visitor came into touch with a code. Between two of the clicks since `first_at` there was never more than the scheme's window."""

    code: str
    user_id: str
    scheme_id: str
    upline: tuple[str, ...]
    expires_at: datetime | None
    first_at: datetime
    last_at: datetime
    clicks: int = 1
    own: bool = False


class Visitor(State, frozen=True):
    """The links that somebody followed, the one that was followed last at the end."""

    touches: tuple[Touch, ...] = ()

    def touch(self, code: str) -> Touch | None:
        """How it was with this code."""
        return next((touch for touch in self.touches if touch.code == code), None)

    @property
    def users(self) -> set[str]:
        """Who was signed in there, as far as own links tell."""
        return {touch.user_id for touch in self.touches if touch.own}


class Scheme(msgspec.Struct, frozen=True):
    """A scheme as it is defined now; `levels` are points and commission, each a number or a formula."""

    status: Literal["draft", "active", "closed"]
    revision: int
    name: str
    event: str
    condition: str
    friend_points: int | str
    levels: tuple[tuple[int | str, int | str], ...]
    budget: int
    currency: str | None
    commission_budget: int
    payout_threshold: int | None
    tiers: Mapping[str, int]
    touch: Literal["first", "last"]
    window_days: int
    qualify_days: int | None
    hold_days: int
    approval: Literal["automatic", "manual"]

    @property
    def window(self) -> timedelta:
        """For how long a link counts."""
        return timedelta(days=self.window_days)


class Schemes(State, frozen=True):
    """All schemes of the program by their ids."""

    by_id: Mapping[str, Scheme] = msgspec.field(default_factory=dict)

    def active(self, scheme_id: str) -> Scheme | None:
        """A scheme if it counts now."""
        scheme = self.by_id.get(scheme_id)
        return scheme if scheme and scheme.status == "active" else None


class Bank(State, frozen=True):
    """What of a scheme's budgets is given, less what was clawed back; `exhausted` referrals did not fit in."""

    points: int = 0
    commission: int = 0
    exhausted: int = 0


class Grant(State, frozen=True, omit_defaults=True):
    """What was granted for a referral."""

    status: Literal["none", "granted", "exhausted", "clawed_back"] = "none"
    shares: tuple[Portion, ...] = ()


class Earnings(State, frozen=True):
    """An ambassador's commission under a scheme: what was earned and not clawed back, what of it is being paid out, and what was."""

    earned: int = 0
    requested: int = 0
    paid: int = 0

    @property
    def payable(self) -> int:
        """What can be asked for; below 0 where more was paid than is earned after all."""
        return self.earned - self.requested - self.paid


class Payout(State, frozen=True):
    """A payout by its id."""

    status: Literal["none", "requested", "completed", "failed"] = "none"
    amount: int = 0
    currency: str = ""
