"""What users earn points for: the rules of a program, how they are defined, and what they give for an event."""

import calendar
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from agents.points.rules.builtin import SIGN_UP, USER_REGISTERED, listening, rule_of
from agents.points.rules.course import Course
from agents.points.rules.documents import Catalogue, Day, Documents, Source, Terms
from agents.points.rules.reading import GIVEN, PROGRAM_RULES, PROGRAM_TIERS, RULES, TIER, day
from agents.points.rules.tiers import earn, settle
from streams.condition import ConditionError, holds, number
from streams.decision import Case, Decision, Refuse
from topics.points import (
    ActivatePointsRule,
    DeactivatePointsRule,
    DefinePointsRule,
    ObserveEvent,
    PointsAwarded,
    PointsLocked,
    PointsRuleActivated,
    PointsRuleApplied,
    PointsRuleDeactivated,
    PointsRuleDefined,
    PointsRuleFailed,
    RuleTerms,
)
from topics.points.observed import OBSERVED, samples

MAX_RULES = 200  # of a program
SOON = 31  # days; what is later happens at the end of a month
WORDS = 1000  # characters, as a contract takes them

Facts = Mapping[str, Any]


# -- how rules are defined


def define(state: Documents, command: DefinePointsRule) -> Decision:
    """A rule that works is kept as the next revision."""
    rule = rule_of(command.rule_id, state[f"rule/{command.rule_id}"])
    catalogue: Catalogue = state[RULES]
    if command.event not in OBSERVED:
        return Refuse("unknown_event", status=422, details={"known": sorted(OBSERVED)})
    if rule.terms and rule.event != command.event:
        return Refuse("other_event", details={"event": rule.event})
    if rule.terms is None and catalogue.rules >= MAX_RULES:
        return Refuse("too_many_rules", details={"most": MAX_RULES})
    if words := _wrong_with(command):
        return Refuse("bad_condition", status=422, details={"reason": words})
    terms = {name: getattr(command, name) for name in RuleTerms.model_fields}
    revision = rule.terms.revision + 1 if rule.terms else 1
    return [PointsRuleDefined(program=command.program, rule_id=command.rule_id, revision=revision, **terms)]


def _wrong_with(command: DefinePointsRule) -> str | None:
    """What goes wrong when the rule is tried, if anything; the amount counts only where the condition holds, or all fields are given."""
    full, bare = samples(OBSERVED[command.event])
    user = {"id": "somebody", "tier": "", "available": 0}
    try:
        for payload in (full, bare):
            facts = {"event": payload, "user": user, "at": datetime(2026, 1, 1, tzinfo=UTC)}
            if holds(command.condition, facts) or payload is full:
                _amount(command.amount, facts)
    except ConditionError as error:
        return str(error)
    return None


def activate(state: Documents, command: ActivatePointsRule) -> Decision:
    """The revision that was defined last counts."""
    rule = rule_of(command.rule_id, state[f"rule/{command.rule_id}"])
    if rule.terms is None:
        return Refuse("rule_not_found", status=404)
    if rule.active == rule.terms.revision:
        return Refuse("rule_active", details={"revision": rule.active})
    about = {"program": command.program, "rule_id": command.rule_id, "event": rule.event}
    return [PointsRuleActivated(**about, revision=rule.terms.revision)]


def deactivate(state: Documents, command: DeactivatePointsRule) -> Decision:
    """No revision counts."""
    rule = rule_of(command.rule_id, state[f"rule/{command.rule_id}"])
    if rule.terms is None:
        return Refuse("rule_not_found", status=404)
    if not rule.active:
        return Refuse("rule_inactive")
    about = {"program": command.program, "rule_id": command.rule_id, "event": rule.event}
    return [PointsRuleDeactivated(**about, revision=rule.active)]


# -- what they give


def observe(state: Documents, command: ObserveEvent, case: Case) -> Decision:
    """Every rule that counts for the event gives what it says, once for the source."""
    course, tiers = Course(command.user_id, state, case.now), case.consulted[PROGRAM_TIERS]
    rules = listening(case.consulted[PROGRAM_RULES])
    for rule_id, terms in sorted(rules.get(command.event, {}).items()):
        if not _was_given(state, rule_id, command):
            for event in _given(course, rule_id, terms, command):
                if isinstance(event, PointsAwarded):
                    earn(course, tiers, event)
                else:
                    course.tell(event)
    if course.events:
        settle(course, tiers)
    return course.events


def _was_given(state: Documents, rule_id: str, command: ObserveEvent) -> bool:
    source: Source = state[f"source/{command.source}"]
    if rule_id == SIGN_UP and command.event == USER_REGISTERED and state[f"award/{SIGN_UP}/{command.source}"].given:
        return True
    return rule_id in source.awards


def _given(course: Course, rule_id: str, terms: Terms, command: ObserveEvent) -> Iterator[Any]:
    """What a rule gives for an event, as events."""
    about = {"user_id": command.user_id, "rule_id": rule_id, "revision": terms.revision, "event": command.event}
    about["source"] = command.source
    try:
        amount = min([_wanted(course, terms, command), *_left(course, rule_id, terms, command)])
    except ConditionError as error:
        yield PointsRuleFailed(**about, words=str(error)[:WORDS].replace("\0", ""))
        return
    if amount < 1:
        return
    if not course.account.has_room(amount):
        yield PointsRuleFailed(**about, words="The balance is as large as it can be.")
        return
    at, of = command.occurred_at, {"user_id": command.user_id, "rule": rule_id, "source": command.source}
    end = course.account.shelf_for(end_of(at, terms.validity)) if terms.validity else None
    awarded = PointsAwarded(**of, amount=amount, expires_at=end)
    yield PointsRuleApplied(**about, occurred_at=at, amount=amount, base=command.base)
    yield awarded
    if terms.pending and (unlocks_at := end_of(at, terms.pending)) > course.now:
        yield PointsLocked(**of, amount=amount, unlocks_at=unlocks_at, lots=awarded.lots)


def _wanted(course: Course, terms: Terms, command: ObserveEvent) -> int:
    """What the rule says before its caps, 0 for nothing; raises ConditionError."""
    user = {"id": command.user_id, "tier": course.state[TIER].tier or "", "available": course.account.available}
    facts = {"event": command.facts, "user": user, "at": command.occurred_at}
    return _amount(terms.amount, facts) if holds(terms.condition, facts) else 0


def _amount(amount: int | str, facts: Facts) -> int:
    return amount if isinstance(amount, int) else number(amount, facts)


def _left(course: Course, rule_id: str, terms: Terms, command: ObserveEvent) -> Iterator[int]:
    """What the caps of a rule leave; at most what any account holds."""
    on_the_day: Day = course.state[day(command.occurred_at)]
    ever: Day = course.state[GIVEN]
    for cap, given in ((terms.cap_per_day, on_the_day), (terms.cap_per_user, ever)):
        if cap is not None:
            yield cap - given.given.get(rule_id, 0)


def end_of(at: datetime, days: int) -> datetime:
    """The end of the day that so many days later is, or of its month when that is more than a month away; UTC."""
    last = (at + timedelta(days=days)).astimezone(UTC).date()
    if days > SOON:
        last = last.replace(day=calendar.monthrange(last.year, last.month)[1])
    return datetime.combine(last + timedelta(days=1), time(), UTC)
