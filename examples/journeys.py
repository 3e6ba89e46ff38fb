"""Lines about people who register, buy vouchers of campaigns with points and show them at the till, among those about points alone.

The code of a voucher is known when it is bought and not before: where `SHOWN` stands for its secret, a client that can look
puts the code there, and to any other the platform answers that it knows no such code.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from examples.generate import ADMIN, Data, Generator, Line, Maker, User, by

SHOWN = "SHOWN"
NEVER = datetime(2199, 1, 1, tzinfo=UTC)
PARTNERS = ("p1", "p2", "p3")
TERMS: dict[str, Data] = {
    "free": {"price": 0, "value": 300, "quantity": 60, "budget": 60_000, "valid_days": 1},
    "cheap": {"price": 20, "value": 500, "quantity": 5000, "budget": 5_000_000, "per_user": 9, "valid_days": 30},
    "short": {"price": 5, "value": 100, "quantity": 5000, "budget": 5_000_000, "per_user": 9, "valid_days": 1},
    "few": {"price": 10, "value": 900, "quantity": 4, "budget": 90_000, "per_user": 2, "valid_days": 30},
    "poor": {"price": 10, "value": 300, "quantity": 400, "budget": 1000, "per_user": 2, "valid_days": 30},
    "dear": {"price": 10**12, "value": 300, "quantity": 400, "budget": 90_000, "per_user": 9, "valid_days": 30},
    "early": {"price": 1, "value": 300, "quantity": 400, "budget": 90_000, "valid_days": 30},
    "draft": {"price": 1, "value": 300, "quantity": 400, "budget": 90_000, "valid_days": 30},
}
"""Kinds of campaigns, by what becomes of most purchases."""


class Acts(NamedTuple):
    """Lines to be sent one act after the other; in each, those of one user or campaign in their order."""

    opening: list[Line]
    """Campaigns."""
    bustle: list[Line]
    """Registrations, points and purchases."""
    tills: list[Line]
    """Redemptions."""


@dataclass
class Campaign:
    """A campaign and whose it is."""

    id: str
    partner: str
    kind: str


class Journeys(Generator):
    """A seeded stream of lines of all domains. What is short-lived ends at `soon`."""

    def __init__(self, seed: int, users: int = 200, sets: int = 3, soon: datetime = NEVER) -> None:
        """`sets` campaigns of each kind."""
        super().__init__(seed, users)
        self.soon = soon
        self.campaigns = [Campaign(f"{kind}-{n}", self.pick([*PARTNERS]), kind) for kind in TERMS for n in range(sets)]
        self.bought: list[tuple[Campaign, str]] = []
        self.registered: list[User] = []
        self._numbers = 0
        self._waiting: list[Line] = []
        self._kinds = [*self._kinds * 2, *JOURNEYS * 3]

    def acts(self, count: int) -> Acts:
        """So many lines in the second act, and what goes before and after."""
        opening = [line for campaign in self.campaigns for line in self._opening(campaign)]
        stream = iter(self)
        bustle = [next(stream) for _ in range(count)]
        return Acts(opening, bustle, [line for sold in self.bought for line in self._till(*sold)])

    def __iter__(self) -> Iterator[Line]:
        """The lines of the second act, without end."""
        for line in super().__iter__():
            yield line
            while self._waiting:
                yield self._waiting.pop()

    def next(self, line: Line) -> None:
        """Have this line follow at once."""
        self._waiting.append(line)

    def number(self) -> int:
        """One that was not used before."""
        self._numbers += 1
        return self._numbers

    def _opening(self, campaign: Campaign) -> Iterator[Line]:
        """The campaign is made and activated; around that, with some chance, what is refused."""
        who, ids = by_partner(campaign.partner), {"campaign_id": campaign.id, "partner_id": campaign.partner}
        create, activate = "promotions.create_campaign", "promotions.activate_campaign"
        terms = self._terms(campaign)
        wrong = ({"budget": 1}, {"valid_to": NEVER.isoformat()}, {"price": -1}, {"quantity": 0})
        yield from self._perhaps(activate, who, ids)  # too early
        for one in wrong:
            yield from self._perhaps(create, who, {**ids, **terms, **one})
        yield self.line(create, who, {**ids, **terms})
        yield from self._perhaps(create, who, {**ids, **terms})
        yield from self._perhaps(activate, by_partner("p9"), {**ids, "partner_id": "p9"})  # not theirs
        yield from self._perhaps(activate, by_partner("p9"), ids)
        if campaign.kind != "draft":
            yield self.line(activate, who, ids)
            yield from self._perhaps(activate, who, ids)

    def _terms(self, campaign: Campaign) -> Data:
        terms = {**TERMS[campaign.kind], "name": f"Offer {campaign.id}", "currency": "EUR"}
        if campaign.kind == "early":
            terms["sale_from"] = NEVER.isoformat()
        elif self.chance(0.2):
            terms["sale_to"] = self.soon.isoformat()
        return terms

    def _perhaps(self, command: str, who: dict[str, str], data: Data) -> Iterator[Line]:
        if self.chance(0.25):
            yield self.line(command, who, data)

    def _till(self, campaign: Campaign, voucher: str) -> Iterator[Line]:
        if self.chance(0.2):
            yield self.redemption(campaign, f"{voucher}-AAAABBBBCCCCDDDD")
        if self.chance(0.1):
            other = Campaign(campaign.id, "p9", campaign.kind)
            yield self.redemption(other, f"{voucher}-{SHOWN}")
        for share in (0.8, 0.3):
            if self.chance(share):
                yield self.redemption(campaign, f"{voucher}-{SHOWN}")

    def redemption(self, campaign: Campaign, code: str) -> Line:
        """A voucher at the till."""
        data = {"campaign_id": campaign.id, "partner_id": campaign.partner, "code": code}
        return self.line("promotions.redeem_voucher", by_partner(campaign.partner), data)


def by_partner(name: str) -> dict[str, str]:
    """A partner as issuer."""
    return {"user": name, "role": "Partner"}


Journey = Callable[[Journeys, User], Line | None]


def register(g: Journeys, user: User) -> Line | None:
    """A user registers; now and then somebody else wants the same address or number at the same time."""
    if user in g.registered:
        return None
    g.registered.append(user)
    n = g.number()
    logins = {"email": f"{user.id}@example.com"} | ({"phone": f"+49 30 {5_550_000 + n}"} if g.chance(0.4) else {})
    if g.chance(0.25):
        rival = {"user_id": f"rival-{n}", "email": f"rival-{n}@example.com"}
        taken = {"phone": logins["phone"]} if "phone" in logins and g.chance(0.5) else {}
        g.next(g.line("identity.register_user", None, rival | (taken or {"email": f"{user.id}@Example.COM"})))
    data = {"user_id": user.id, **logins, "display_name": f"The {user.id}"}
    if g.chance(0.3):
        data["referral_code"] = "no such code"
    return g.line("identity.register_user", None, data)


def register_again(g: Journeys, user: User) -> Line | None:
    if user not in g.registered:
        return None
    return g.line("identity.register_user", None, {"user_id": user.id, "email": f"{user.id}-{g.number()}@example.com"})


def update_profile(g: Journeys, user: User) -> Line:
    data = g.pick([{"time_zone": "Europe/Berlin"}, {"language": "de"}, {"language": "en", "time_zone": "Asia/Tokyo"}])
    return g.line("identity.update_profile", by(user), {"user_id": user.id, **data})


def purchase(g: Journeys, user: User) -> Line:
    """Somebody wants a voucher of any kind of campaign, some of them again and again."""
    campaign, voucher = g.pick(g.campaigns), f"v{g.number()}"
    if g.bought and g.chance(0.03):
        campaign, voucher = g.pick(g.bought)  # of somebody who was here before
    else:
        g.bought.append((campaign, voucher))
    data = {"campaign_id": campaign.id, "voucher_id": voucher, "user_id": user.id}
    return g.line("promotions.purchase_voucher", by(user), data)


def expiring(g: Journeys, user: User) -> Line:
    amount, end = g.amount(500), g.soon + timedelta(hours=g.pick([0, 1, 2]))
    user.available += amount
    data = {"user_id": user.id, "amount": amount, "expires_at": end.isoformat()}
    return g.line("award_points", ADMIN, data)


def purchase_of_nothing(g: Journeys, user: User) -> Line:
    data = {"campaign_id": "no-such-campaign", "voucher_id": f"v{g.number()}", "user_id": user.id}
    return g.line("promotions.purchase_voucher", by(user), data)


def without_login(g: Journeys, user: User) -> Line:
    return g.line("identity.register_user", None, {"user_id": user.id, "display_name": "Nobody"})


def strange_email(g: Journeys, user: User) -> Line:
    return g.line(
        "identity.register_user", None, {"user_id": user.id, "email": g.pick(["", "@", "a@b@c.de", "a b@c.de"])}
    )


def profile_of_another(g: Journeys, user: User) -> Line:
    return g.line("identity.update_profile", by(g.other(user)), {"user_id": user.id, "language": "de"})


def purchase_for_another(g: Journeys, user: User) -> Line:
    data = {"campaign_id": g.campaigns[0].id, "voucher_id": f"v{g.number()}", "user_id": user.id}
    return g.line("promotions.purchase_voucher", g.pick([by(g.other(user)), None]), data)


JOURNEYS: list[Maker] = [
    *[register] * 12,
    register_again,
    *[update_profile] * 3,
    *[purchase] * 25,
    *[expiring] * 6,
    purchase_of_nothing,
    without_login,
    strange_email,
    profile_of_another,
    purchase_for_another,
]
