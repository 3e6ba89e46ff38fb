"""What an event of points changes."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from agents.points.rules.builtin import listening, rule_of
from agents.points.rules.documents import (
    Account,
    Catalogue,
    Day,
    Documents,
    Given,
    Hold,
    Listening,
    Progress,
    Rule,
    Source,
    Spend,
    Step,
    Terms,
    Tiers,
    Transfer,
    parts_of,
)
from agents.points.rules.reading import TIER, reads
from streams.decision import ROOT, State
from topics.points import (
    PointsAdjusted,
    PointsAwarded,
    PointsExpired,
    PointsHeld,
    PointsHoldCaptured,
    PointsHoldReleased,
    PointsLocked,
    PointsOwedCollected,
    PointsReversed,
    PointsRuleActivated,
    PointsRuleApplied,
    PointsRuleDeactivated,
    PointsRuleDefined,
    PointsSourceRefunded,
    PointsSpent,
    PointsTransferReceived,
    PointsTransferred,
    PointsTransferReturned,
    PointsTransferStarted,
    PointsUnlocked,
    TierPeriodStarted,
)


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event changes, as they are after it."""
    before = state[ROOT]
    account = _account(before, event)
    changed: dict[str, State] = {} if account is before else {ROOT: account}
    if len(state) == 1:
        return changed
    for name in reads(event):
        changed[name] = _document(state[name], event, state)
    return changed


def _account(account: Account, event: Any) -> Account:
    """The account after an event, which moves what is available, held, pending and outgoing."""
    match event:
        case PointsAwarded():
            return account.move(+event.amount, 0, 0, event.lots)
        case PointsHeld():
            return account.move(-event.amount, +event.amount, 0, event.lots)
        case PointsHoldReleased():
            return account.move(+event.amount, -event.amount, 0, event.lots)
        case PointsHoldCaptured():
            return account.move(0, -event.amount, 0, event.lots).count(spent=event.amount)
        case PointsSpent():
            return account.move(-event.amount, 0, 0, event.lots).count(spent=event.amount)
        case PointsExpired():
            return account.move(-event.amount, 0, 0, event.lots).count(expired=event.amount)
    return _sent(account, event)


def _sent(account: Account, event: Any) -> Account:
    """The account after a part of a transfer."""
    match event:
        case PointsTransferReceived():
            return account.move(+event.amount, 0, 0, event.lots).count(transit=-event.amount)
        case PointsTransferStarted():
            return account.move(-event.amount, 0, +event.amount, event.lots).count(transit=event.amount)
        case PointsTransferred():
            return account.move(0, 0, -event.amount, event.lots)
        case PointsTransferReturned():
            return account.move(+event.amount, 0, -event.amount, event.lots).count(transit=-event.amount)
    return _corrected(account, event)


def _corrected(account: Account, event: Any) -> Account:
    """The account after what is pending, taken back or put right."""
    match event:
        case PointsLocked():
            return account.lock(-event.amount, +event.amount, event.unlocks_at, event.lots)
        case PointsUnlocked():
            return account.lock(+event.amount, -event.amount, event.unlocks_at, event.lots)
        case PointsReversed() if not event.entry.startswith("award/"):
            return account.move(+event.amount, 0, 0, event.lots).count(spent=-event.amount)
        case PointsReversed() if event.unlocks_at is not None:
            return account.lock(0, -event.amount, event.unlocks_at, event.lots).count(reversed=event.amount)
        case PointsReversed():
            taken = event.amount - event.owed
            after = account.move(-taken, 0, 0, event.lots).count(reversed=taken)
            return replace(after, owed=after.owed + event.owed)
        case PointsOwedCollected():
            after = account.move(-event.amount, 0, 0, event.lots).count(reversed=event.amount)
            return replace(after, owed=after.owed - event.amount)
        case PointsAdjusted():
            return account.move(event.amount, 0, 0, event.lots).count(adjusted=event.amount)
    return account


def _document(document: Any, event: Any, state: Documents) -> State:
    """What stands beside the account, after an event that is about it."""
    match document:
        case Hold():
            return _hold(document, event)
        case Spend():
            return _spend(document, event)
        case Transfer():
            return _transfer(document, event)
        case Source():
            return _source(document, event, state)
        case Day():
            before = document.given.get(event.rule_id, 0)
            return Day({**document.given, event.rule_id: before + event.amount})
        case Progress():
            return _progress(document, event, state)
    return _of_program(document, event, state)


def _hold(hold: Hold, event: Any) -> Hold:
    match event:
        case PointsHeld():
            return Hold(event.amount, "open", parts_of(event.lots))
        case PointsHoldCaptured():
            return replace(hold, status="captured")
        case PointsHoldReleased():
            return replace(hold, status="released")
    return replace(hold, reversed=hold.reversed + event.amount)


def _spend(spend: Spend, event: PointsSpent | PointsReversed) -> Spend:
    if isinstance(event, PointsSpent):
        return Spend(event.amount, parts_of(event.lots))
    return replace(spend, reversed=spend.reversed + event.amount)


def _transfer(transfer: Transfer, event: Any) -> Transfer:
    match event:
        case PointsTransferStarted():
            return Transfer(event.to, event.amount, event.command_id, "open", parts_of(event.lots))
        case PointsTransferred():
            return replace(transfer, status="arrived")
    return replace(transfer, status="returned")


def _source(source: Source, event: Any, state: Documents) -> Source:
    if isinstance(event, PointsSourceRefunded):
        return replace(source, refunded=source.refunded + event.amount)
    rule = rule_in(event)
    given = source.awards.get(rule, Given())
    match event:
        case PointsRuleApplied():
            given = Given(event=event.event, base=event.base or 0)
        case PointsAwarded():
            given = replace(given, amount=event.amount, expires_at=event.expires_at, period=state[TIER].period)
        case PointsLocked():
            given = replace(given, unlocks_at=event.unlocks_at)
        case PointsReversed():
            given = replace(given, reversed=given.reversed + event.amount)
    return replace(source, awards={**source.awards, rule: given})


def rule_in(event: Any) -> str:
    """The rule by which a source was rewarded."""
    match event:
        case PointsRuleApplied():
            return event.rule_id
        case PointsReversed():
            return event.entry.split("/")[1]
    rule: str = event.rule
    return rule


def _progress(progress: Progress, event: Any, state: Documents) -> Progress:
    match event:
        case PointsAwarded():
            return replace(progress, ever=progress.ever + event.amount, earned=progress.earned + event.amount)
        case PointsReversed():
            source: Source = state[reads(event)[0]]
            return _unearned(progress, source.awards[rule_in(event)].period, event.amount)
        case TierPeriodStarted():
            before = replace(progress, before=progress.earned, earned=0)
            return replace(before, period=event.period, until=event.until)
    return replace(progress, tier=event.tier)


def _unearned(progress: Progress, period: int, amount: int) -> Progress:
    """Without so much that was earned in that period."""
    less = replace(progress, ever=progress.ever - amount)
    if period == progress.period:
        return replace(less, earned=less.earned - amount)
    return replace(less, before=less.before - amount) if period == progress.period - 1 else less


def _of_program(document: Any, event: Any, state: Documents) -> State:
    match document:
        case Rule():
            return _rule(rule_of(event.rule_id, document), event)
        case Listening():
            rules = listening(document)
            terms = {rule_id: one for rule_id, one in rules.get(event.event, {}).items() if rule_id != event.rule_id}
            last = rule_of(event.rule_id, state[f"rule/{event.rule_id}"]).terms
            if last and isinstance(event, PointsRuleActivated):
                terms[event.rule_id] = last
            return Listening({**rules, event.event: terms})
        case Catalogue():
            return Catalogue(document.rules + (event.revision == 1))
        case Tiers():
            steps = tuple(Step(tier.tier_id, tier.points) for tier in event.tiers)
            return Tiers(event.revision, steps, event.period)
    raise NotImplementedError(event.wire_name)


def _rule(rule: Rule, event: PointsRuleDefined | PointsRuleActivated | PointsRuleDeactivated) -> Rule:
    match event:
        case PointsRuleDefined():
            terms = Terms(
                event.revision,
                event.amount,
                event.condition,
                event.cap_per_day,
                event.cap_per_user,
                event.validity,
                event.pending,
            )
            return Rule(event.event, terms, rule.active)
        case PointsRuleActivated():
            return replace(rule, active=event.revision)
    return replace(rule, active=0)
