"""The rules that a program has from the beginning; an admin may define them again, or take them out."""

from collections.abc import Mapping

from agents.points.rules.documents import Listening, Rule, Terms

SIGN_UP, SIGN_UP_POINTS = "sign_up", 100
USER_REGISTERED = "identity.user_registered"

BUILT_IN: Mapping[str, Mapping[str, Terms]] = {USER_REGISTERED: {SIGN_UP: Terms(revision=1, amount=SIGN_UP_POINTS)}}
"""Rules by the event that they are about, and their ids."""


def rule_of(rule_id: str, kept: Rule) -> Rule:
    """A rule as it stands."""
    if kept.terms is None:
        for event, rules in BUILT_IN.items():
            if terms := rules.get(rule_id):
                return Rule(event, terms, terms.revision)
    return kept


def listening(kept: Listening) -> Mapping[str, Mapping[str, Terms]]:
    """The rules that count, by event and id."""
    return BUILT_IN if kept.rules is None else kept.rules
