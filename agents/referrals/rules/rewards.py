"""Rewards and payouts of a scheme, decided at the scheme, so that its budget is one."""

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from msgspec.structs import replace

from agents.referrals.rules.documents import (
    BANK,
    DEFINITIONS,
    Bank,
    Documents,
    Earnings,
    Grant,
    Member,
    Payout,
    Portion,
    Scheme,
)
from streams.decision import Case, Decision, Refuse, State
from topics.referrals import (
    MAX_AMOUNT,
    ClawBackReferralRewards,
    CompletePayout,
    FailPayout,
    GrantReferralRewards,
    OfPayout,
    PayoutCompleted,
    PayoutFailed,
    PayoutRequested,
    ReferralBudgetExhausted,
    ReferralCommissionClawedBack,
    ReferralCommissionEarned,
    ReferralRewardClawedBack,
    ReferralRewardGranted,
    RequestPayout,
    Reward,
)


def grant_of(referral_id: str) -> str:
    """The sub-key of what was granted for a referral."""
    return f"grant/{referral_id}"


def earnings_of(user_id: str) -> str:
    """The sub-key of an ambassador's earnings."""
    return f"earnings/{user_id}"


def payout_of(payout: OfPayout) -> str:
    """The sub-key of a payout."""
    return f"payout/{payout.user_id}/{payout.payout_id}"


def reward_id(scheme_id: str, referral_id: str, level: int) -> str:
    """The id of what is granted once for this level of a referral under a scheme."""
    return blake2b(f"{scheme_id}/{referral_id}/{level}".encode(), digest_size=16, person=b"reward").hexdigest()


def reads(message: Any) -> tuple[str, ...]:
    """The scheme's budget, and what it is about: a grant with the earnings of those who get it, or a payout."""
    match message:
        case OfPayout():
            return earnings_of(message.user_id), payout_of(message)
        case GrantReferralRewards() | ClawBackReferralRewards():
            users = [share.user_id for share in message.shares]
        case Reward():
            users = [message.user_id]
        case _:
            users = []
    return BANK, grant_of(message.referral_id), *map(earnings_of, users)


def decide(state: Documents, command: Any, case: Case) -> Decision:
    """What a command to a scheme leads to."""
    match command:
        case GrantReferralRewards():
            return _grant(state, command, case)
        case ClawBackReferralRewards():
            return _claw_back(state[grant_of(command.referral_id)], command, case)
        case RequestPayout():
            return _request(state, command, case)
        case CompletePayout() | FailPayout():
            return _end(state[payout_of(command)], command)
    raise NotImplementedError(command.wire_name)


def consults(command: GrantReferralRewards) -> tuple[str, ...]:
    """The schemes, and who of those who get something is an ambassador."""
    return DEFINITIONS, *(share.user_id for share in command.shares)


def _grant(state: Documents, command: GrantReferralRewards, case: Case) -> Decision:
    """Everybody gets their share if all of it is within the budget; commission is for active ambassadors, by their tier."""
    bank: Bank = state[BANK]
    scheme: Scheme = case.consulted[DEFINITIONS].by_id[command.scheme_id]
    if state[grant_of(command.referral_id)].status != "none":
        return Refuse("already_granted")
    portions = [
        Portion(
            share.level, share.user_id, share.points, _earned(share.commission, case.consulted[share.user_id], scheme)
        )
        for share in command.shares
    ]
    points, commission = sum(p.points for p in portions), sum(p.commission for p in portions)
    if bank.points + points > scheme.budget or bank.commission + commission > scheme.commission_budget:
        asked = {"points": min(points, MAX_AMOUNT), "commission": min(commission, MAX_AMOUNT)}
        told = ReferralBudgetExhausted(scheme_id=command.scheme_id, referral_id=command.referral_id, **asked)
        return Refuse("budget_exhausted", events=[told])
    tiers = {share.user_id: case.consulted[share.user_id].tier for share in command.shares}
    return list(_granted(command, portions, scheme.currency or "", tiers))


def _earned(commission: int, member: Member, scheme: Scheme) -> int:
    if member.ambassador != "active":
        return 0
    return min(commission * scheme.tiers.get(member.tier, 100) // 100, MAX_AMOUNT)


def _granted(
    command: GrantReferralRewards, portions: list[Portion], currency: str, tiers: Mapping[str, str]
) -> Iterator[Reward]:
    for portion in portions:
        about = _about(command, portion)
        if portion.points:
            yield ReferralRewardGranted(**about, points=portion.points)
        if portion.commission:
            tier = tiers[portion.user_id]
            yield ReferralCommissionEarned(**about, amount=portion.commission, currency=currency, tier=tier)


def _about(command: GrantReferralRewards | ClawBackReferralRewards, portion: Portion) -> dict[str, Any]:
    return {
        "scheme_id": command.scheme_id,
        "reward_id": reward_id(command.scheme_id, command.referral_id, portion.level),
        "referral_id": command.referral_id,
        "level": portion.level,
        "user_id": portion.user_id,
    }


def _claw_back(grant: Grant, command: ClawBackReferralRewards, case: Case) -> Decision:
    """What was granted is taken back, all of it."""
    if grant.status != "granted":
        return Refuse("not_granted", details={"status": grant.status})
    currency = case.consulted[DEFINITIONS].by_id[command.scheme_id].currency or ""
    told: list[Reward] = []
    for portion in grant.shares:
        about = _about(command, portion)
        if portion.points:
            told.append(ReferralRewardClawedBack(**about, points=portion.points))
        if portion.commission:
            told.append(ReferralCommissionClawedBack(**about, amount=portion.commission, currency=currency))
    return told


def _request(state: Documents, command: RequestPayout, case: Case) -> Decision:
    """All that can be paid out is, if it is enough."""
    scheme: Scheme | None = case.consulted[DEFINITIONS].by_id.get(command.scheme_id)
    earnings: Earnings = state[earnings_of(command.user_id)]
    if scheme is None:
        return Refuse("scheme_not_found", status=404)
    if state[payout_of(command)].status != "none":
        return Refuse("payout_exists")
    if scheme.payout_threshold is None or not scheme.currency or earnings.payable < scheme.payout_threshold:
        return Refuse("below_threshold", details={"payable": earnings.payable, "threshold": scheme.payout_threshold})
    return [PayoutRequested(**_payout(command), amount=earnings.payable, currency=scheme.currency)]


def _end(payout: Payout, command: CompletePayout | FailPayout) -> Decision:
    """The money is paid, or cannot be."""
    if payout.status == "none":
        return Refuse("payout_not_found", status=404)
    if payout.status != "requested":
        return Refuse(f"payout_{payout.status}")
    about: dict[str, Any] = {**_payout(command), "amount": payout.amount, "currency": payout.currency}
    if isinstance(command, CompletePayout):
        return [PayoutCompleted(**about)]
    return [PayoutFailed(**about, reason=command.reason)]


def _payout(command: OfPayout) -> dict[str, Any]:
    return {name: getattr(command, name) for name in OfPayout.model_fields}


def evolve(state: Documents, event: Reward | ReferralBudgetExhausted | OfPayout) -> Mapping[str, State]:
    """The documents of a scheme after an event."""
    if isinstance(event, OfPayout):
        return _paid(state, event)
    bank: Bank = state[BANK]
    name = grant_of(event.referral_id)
    match event:
        case ReferralBudgetExhausted():
            return {BANK: replace(bank, exhausted=bank.exhausted + 1), name: Grant("exhausted")}
        case ReferralRewardGranted():
            return {
                BANK: replace(bank, points=bank.points + event.points),
                name: _added(state[name], event, event.points, 0),
            }
        case ReferralRewardClawedBack():
            return {
                BANK: replace(bank, points=bank.points - event.points),
                name: replace(state[name], status="clawed_back"),
            }
        case ReferralCommissionEarned():
            changed = {name: _added(state[name], event, 0, event.amount)}
            return {
                BANK: replace(bank, commission=bank.commission + event.amount),
                **changed,
                **_earnings(state, event, event.amount),
            }
        case ReferralCommissionClawedBack():
            changed = {name: replace(state[name], status="clawed_back")}
            return {
                BANK: replace(bank, commission=bank.commission - event.amount),
                **changed,
                **_earnings(state, event, -event.amount),
            }
    raise NotImplementedError(type(event).__name__)


def _added(grant: Grant, reward: Reward, points: int, commission: int) -> Grant:
    """The grant with what one more event tells of a level."""
    before = next((one for one in grant.shares if one.level == reward.level), Portion(reward.level, reward.user_id, 0))
    others = tuple(one for one in grant.shares if one.level != reward.level)
    portion = replace(before, points=before.points + points, commission=before.commission + commission)
    return Grant("granted", (*others, portion))


def _earnings(state: Documents, reward: Reward, amount: int) -> dict[str, State]:
    name = earnings_of(reward.user_id)
    earnings: Earnings = state[name]
    return {name: replace(earnings, earned=earnings.earned + amount)}


def _paid(state: Documents, event: OfPayout) -> Mapping[str, State]:
    name, earnings = earnings_of(event.user_id), state[earnings_of(event.user_id)]
    match event:
        case PayoutRequested(amount=amount):
            changed = replace(earnings, requested=earnings.requested + amount)
            return {name: changed, payout_of(event): Payout("requested", amount, event.currency)}
        case PayoutCompleted(amount=amount):
            changed = replace(earnings, requested=earnings.requested - amount, paid=earnings.paid + amount)
            return {name: changed, payout_of(event): replace(state[payout_of(event)], status="completed")}
        case PayoutFailed(amount=amount):
            changed = replace(earnings, requested=earnings.requested - amount)
            return {name: changed, payout_of(event): replace(state[payout_of(event)], status="failed")}
    raise NotImplementedError(type(event).__name__)
