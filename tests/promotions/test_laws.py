"""The laws of promotions, of vouchers, gifts and promo codes alike, at every moment of random histories; and each law sees the rule that breaks it."""

from typing import Any

import pytest
from hypothesis import Phase, given, settings

from agents.promotions.sink import CampaignRow
from streams.agent import Agent, Decider, agents_of
from tests.acceptance.planting import planted
from tests.promotions.histories import Town, histories
from tests.stepping import rebuilt


def played(history: list[Any], agents: list[Agent] | None = None) -> Town:
    """A town at the end of a history; every event was looked at when it came."""
    town = Town(agents)
    for entry in history:
        town.play(entry)
    town.settle()
    return town


def shows(town: Town) -> None:
    """The views show what the plain book has."""
    rows = town.platform.rows
    found = {key: (row[2], row[8], row[10], row[17], row[18]) for key, row in rows["voucher"].items()}
    assert found == town.book.vouchers()
    assert {key: (row[4], row[5]) for key, row in rows["promo_code"].items()} == town.book.codes()
    assert {key: (row[10], row[8]) for key, row in rows["redemption"].items()} == town.book.redemptions()
    for key, figures in town.book.campaigns().items():
        row = rows["campaign"][key]
        assert {name: getattr(row_of(row), name) for name in figures} == figures


def row_of(row: tuple[Any, ...]) -> Any:
    """A campaign's row by its columns."""
    return CampaignRow(*row)


def lawful(history: list[Any], agents: list[Agent] | None = None) -> None:
    """Everything holds, and nothing is left undone."""
    town = played(history, agents)
    shows(town)
    for name, offer in town.book.offers.items():
        for one, thing in offer.things.items():
            used, held = offer.taken(thing)
            document = town.platform.state("promotions", name, f"voucher/{one}")
            assert (document.used, document.held) == (used, held)
        for user, count in offer.share.items():
            assert town.platform.state("promotions", name, f"user/{user}").count == count


@pytest.mark.req("SR066")
@pytest.mark.req("SR054")
@settings(max_examples=40)
@given(histories())
def test_uses_values_limits_windows_owners_and_venues_hold_at_every_moment(history: list[Any]) -> None:
    lawful(history)


@pytest.mark.full
@pytest.mark.req("SR066")
@settings(max_examples=600)
@given(histories(150))
def test_they_hold_in_long_histories_too(history: list[Any]) -> None:
    lawful(history)


@settings(max_examples=15)
@given(histories())
def test_the_events_alone_give_the_same_documents_rows_and_timers(history: list[Any]) -> None:
    live = played(history).platform
    again = rebuilt(live, *agents_of("promotions"))

    assert (again.documents, again.rows, again.timers) == (live.documents, live.rows, live.timers)


BUGS = {
    "a voucher is used once more than it may be": (
        "return capacity - self.used - self.held",
        "return capacity - self.used",
    ),
    "a gift is worth more than it is": (
        "if campaign.units(value) > voucher.left(campaign.capacity) else None",
        "if False else None",
    ),
    "one more than there is": (
        "campaign.issued + campaign.reserved >= campaign.quantity",
        "campaign.issued >= campaign.quantity",
    ),
    "the budget does not count the second use": (
        'return self.value if self.kind == "gift" else self.value * self.max_uses',
        "return self.value",
    ),
    "promo codes cost nothing": ("campaign.spend + discount > campaign.budget", "campaign.spend > campaign.budget"),
    "one more for a user": ("shopper.count >= campaign.per_user:", "shopper.count > campaign.per_user:"),
    "before its time": ("return self.valid_from is not None and now < self.valid_from", "return False"),
    "after its time": (
        'return self.status == "expired" or (self.valid_to is not None and now >= self.valid_to)',
        'return self.status == "expired"',
    ),
    "the old code is good after a transfer": ("user_id=event.to, code=event.code", "user_id=event.to"),
    "somebody else reserves": (
        'voucher.user_id != command.user_id or voucher.status in ("unknown"',
        'voucher.status in ("unknown"',
    ),
    "at any venue": ("return not campaign.venues or venue_id in campaign.venues", "return True"),
    "whoever says that they are staff": (
        'own and (staff is None or case.consulted[f"{venue}/staff/{staff}"].partner_id == command.partner_id)',
        "own",
    ),
    "rolled back twice": ('if use.status == "rolled_back":', "if False:"),
    "what is rolled back is not given back": (
        "voucher.moved(capacity, used=-units)",
        "voucher.moved(capacity, used=0)",
    ),
    "a failed order keeps what it reserved": (
        "voucher.moved(capacity, held=-units)",
        "voucher.moved(capacity, held=0)",
    ),
    "anybody's payment pays": (
        'return "expired" if status == "paid" and buyer != user_id else status',
        "return status",
    ),
    "a voucher in use is cancelled": ("voucher.used or voucher.held or", "voucher.used or"),
    "a voucher is cancelled twice": ('voucher.status == "cancelled" or voucher.is_late', "voucher.is_late"),
    "the refund goes to whoever has it": ("buyer = voucher.buyer or voucher.user_id", "buyer = voucher.user_id"),
    "a paused campaign sells": ('if campaign.status in ("draft", "paused"):', 'if campaign.status == "draft":'),
    "a paused campaign takes codes": (
        'return "campaign_paused" if campaign.status == "paused" else None',
        "return None",
    ),
    "a campaign ends twice": ('if campaign.status in ("ended", "exhausted"):', "if False:"),
    "nobody is told that all is sold": (
        'if before.status not in ("active", "paused") or not after.is_exhausted:',
        "if True:",
    ),
    "all is sold too early": ("return self.unsold + self.reserved <= 0", "return self.unsold <= 0"),
    "a small order gets it": ("if command.total < campaign.min_spend:", "if False:"),
    "a condition is not asked": ("campaign.condition is None or _met(campaign.condition, command, case)", "True"),
    "another currency": ("if command.currency != campaign.currency:", "if False:"),
    "a code is good for one more": ("code.left(campaign.capacity) < 1", "code.left(campaign.capacity) < 0"),
    "a failed order keeps somebody's share": ("-1 if _is_promo_release(campaign, event) else 0", "0"),
}
QUICK = ("a voucher is used once more than it may be", "at any venue", "the old code is good after a transfer")


@pytest.mark.parametrize(
    "bug", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in BUGS]
)
def test_every_broken_rule_is_seen(bug: str) -> None:
    """The first random history that breaks a law is enough."""
    agents = [planted(one, *BUGS[bug]) if isinstance(one, Decider) else one for one in agents_of("promotions")]

    @settings(max_examples=600, phases=[Phase.generate], derandomize=True, database=None)
    @given(histories(80))
    def breaks(history: list[Any]) -> None:
        lawful(history, agents)

    with pytest.raises(AssertionError):
        breaks()
