"""How somebody becomes an admin and ceases to be one: from the user to the list and back."""

from streams.agent import Policy
from streams.sink import Fact
from topics.governance import (
    GOVERNANCE,
    AdminAdded,
    AdminAppointed,
    AdminRemoved,
    ConfirmAdmin,
    DismissAdmin,
    ListAdmin,
)


def put_on_list(fact: Fact[AdminAppointed]) -> ListAdmin:
    """They are to be on the list."""
    event = fact.event
    return ListAdmin(user_id=event.user_id, appointment=event.appointment, added_by=event.by)


def confirm(fact: Fact[AdminAdded]) -> ConfirmAdmin:
    """They are on it."""
    return ConfirmAdmin(user_id=fact.event.user_id, appointment=fact.event.appointment)


def dismiss(fact: Fact[AdminRemoved]) -> DismissAdmin:
    """They are on it no longer."""
    return DismissAdmin(user_id=fact.event.user_id)


ADMINS = Policy(
    "admins", GOVERNANCE, GOVERNANCE, on={AdminAppointed: put_on_list, AdminAdded: confirm, AdminRemoved: dismiss}
)
