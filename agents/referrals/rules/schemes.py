"""Schemes: what they promise, tried when it is written down, and whether they count."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from agents.referrals.rules.documents import SCHEMES, Documents, Scheme, Schemes
from streams.condition import ConditionError, holds, number, sample
from streams.decision import Decision, Refuse, State
from topics.commerce import OrderPaid
from topics.fitness import WorkoutRecorded
from topics.meetups import ParticipantCheckedIn
from topics.promotions import VoucherPurchased, VoucherRedeemed
from topics.quests import QuestCompleted
from topics.referrals import (
    ActivateReferralScheme,
    CloseReferralScheme,
    CreateReferralScheme,
    ReferralSchemeActivated,
    ReferralSchemeClosed,
    ReferralSchemeCreated,
    Terms,
)

MAX_SCHEMES = 200
ACTS: Mapping[str, type[Any]] = {
    act.wire_name: act
    for act in (OrderPaid, VoucherPurchased, VoucherRedeemed, QuestCompleted, ParticipantCheckedIn, WorkoutRecorded)
}
"""The events by which a friend can qualify."""

SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """What of an event a condition may speak of: not of the code of a voucher, which is a secret."""
    return {name: value for name, value in event.items() if name != "code"}


def facts_of(event: Mapping[str, Any], user_id: str, registered_at: datetime, at: datetime) -> dict[str, Any]:
    """What a condition and a formula may speak of."""
    return {"event": dict(event), "user": {"user_id": user_id, "registered_at": registered_at}, "at": at}


def decide(state: Documents, command: Any) -> Decision:
    """What a command about a definition leads to."""
    schemes: Schemes = state[SCHEMES]
    match command:
        case CreateReferralScheme():
            return _create(schemes, command)
        case ActivateReferralScheme():
            return _activate(schemes, command)
        case CloseReferralScheme():
            return _close(schemes, command)
    raise NotImplementedError(command.wire_name)


def _create(schemes: Schemes, command: CreateReferralScheme) -> Decision:
    """A scheme or its next revision."""
    before = schemes.by_id.get(command.scheme_id)
    if before is None and len(schemes.by_id) >= MAX_SCHEMES:
        return Refuse("too_many_schemes", details={"most": MAX_SCHEMES})
    if refuse := _unchangeable(before, command) or _untold(command):
        return refuse
    told = {name: getattr(command, name) for name in type(command).model_fields}
    return [ReferralSchemeCreated(**told, revision=before.revision + 1 if before else 1)]


def _unchangeable(before: Scheme | None, command: CreateReferralScheme) -> Refuse | None:
    """What was promised stays within its budget, and earned in its currency."""
    if before is None:
        return None
    if before.status == "closed":
        return Refuse("scheme_closed")
    if before.currency not in (None, command.currency):
        return Refuse("currency_fixed", details={"currency": before.currency})
    if command.budget < before.budget or command.commission_budget < before.commission_budget:
        return Refuse(
            "budget_lowered", details={"budget": before.budget, "commission_budget": before.commission_budget}
        )
    return None


def _untold(terms: Terms) -> Refuse | None:
    """Why an expression cannot be evaluated, on a sample of its event, if so."""
    facts = facts_of(shown(sample(ACTS[terms.event])), "u1", SOME_DAY, SOME_DAY)
    for field, kind, expression in _expressions(terms):
        try:
            kind(expression, facts)
        except ConditionError as error:
            return Refuse("bad_condition", 422, {"field": field, "reason": str(error)})
    return None


def _expressions(terms: Terms) -> Iterator[tuple[str, Callable[[str, Mapping[str, Any]], Any], str]]:
    """Each with its field and how it is evaluated."""
    yield "condition", holds, terms.condition
    worths = [("friend_points", terms.friend_points)]
    for n, level in enumerate(terms.levels):
        worths += [(f"levels.{n}.points", level.points), (f"levels.{n}.commission", level.commission)]
    yield from ((field, number, worth) for field, worth in worths if isinstance(worth, str))


def _activate(schemes: Schemes, command: ActivateReferralScheme) -> Decision:
    """A scheme counts from now on."""
    scheme = schemes.by_id.get(command.scheme_id)
    if scheme is None:
        return Refuse("scheme_not_found", status=404)
    if scheme.status != "draft":
        return Refuse(f"scheme_{scheme.status}")
    return [ReferralSchemeActivated(scheme_id=command.scheme_id)]


def _close(schemes: Schemes, command: CloseReferralScheme) -> Decision:
    """A scheme is over."""
    scheme = schemes.by_id.get(command.scheme_id)
    if scheme is None:
        return Refuse("scheme_not_found", status=404)
    if scheme.status == "closed":
        return Refuse("scheme_closed")
    return [ReferralSchemeClosed(scheme_id=command.scheme_id)]


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The schemes after an event."""
    by_id = dict(state[SCHEMES].by_id)
    before = by_id.get(event.scheme_id)
    match event:
        case ReferralSchemeCreated():
            by_id[event.scheme_id] = _scheme(event, before)
        case ReferralSchemeActivated() if before:
            by_id[event.scheme_id] = replace(before, status="active")
        case ReferralSchemeClosed() if before:
            by_id[event.scheme_id] = replace(before, status="closed")
    return {SCHEMES: Schemes(by_id)}


def _scheme(event: ReferralSchemeCreated, before: Scheme | None) -> Scheme:
    terms: dict[str, Any] = {name: getattr(event, name) for name in Terms.model_fields}
    terms["levels"] = tuple((level.points, level.commission) for level in event.levels)
    terms["tiers"] = dict(event.tiers)
    return Scheme(status=before.status if before else "draft", revision=event.revision, **terms)
