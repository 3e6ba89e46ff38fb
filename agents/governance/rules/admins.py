"""The rules of the list of admins: an admin cannot be banned, and the last one stays.

Whether a user is one stands with the user, where bans are decided; whether there is another one, at the list. A user is marked before they are on the
list and unmarked after they are off it, so at no moment somebody on the list is banned.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.governance.rules.concern import Change, Concern, Documents, Rule
from agents.governance.rules.sanctions import STANDING, Standing
from streams.decision import Case, Decision, Pending, Refuse, Settle, State
from topics.governance import (
    AddAdmin,
    AdminAdded,
    AdminAppointed,
    AdminDismissed,
    AdminRemoved,
    ConfirmAdmin,
    DismissAdmin,
    ListAdmin,
    RemoveAdmin,
)

ADMINS = "admins"


class Admins(State, frozen=True):
    """The list: since when each of them is on it."""

    since: dict[str, datetime] = msgspec.field(default_factory=dict)


def at_user(message: Any) -> tuple[str, ...]:  # noqa: ARG001 - as the others are asked
    """Where the user stands."""
    return (STANDING,)


def at_list(message: Any) -> tuple[str, ...]:  # noqa: ARG001 - as the others are asked
    """The list."""
    return (ADMINS,)


def add(state: Documents, command: AddAdmin, case: Case) -> Decision:
    """From now on nobody bans them."""
    standing: Standing = state[STANDING]
    if standing.admin:
        return Refuse("already_admin")
    if standing.is_banned(case.now):
        return Refuse("banned")
    if standing.is_restricted(case.now):
        return Refuse("restricted")
    appointed = AdminAppointed(user_id=command.user_id, appointment=case.command_id, by=case.actor.id)
    return Pending([appointed])


def put_on_list(state: Documents, command: ListAdmin, case: Case) -> Decision:  # noqa: ARG001
    """They are on the list."""
    about = {"user_id": command.user_id, "appointment": command.appointment, "by": command.added_by}
    return [AdminAdded(**about, at=case.now)]


def confirm(state: Documents, command: ConfirmAdmin, case: Case) -> Decision:  # noqa: ARG001
    """Whoever added them hears of it."""
    return Settle(command.appointment, [])


def remove(state: Documents, command: RemoveAdmin, case: Case) -> Decision:
    """Unless nobody were left."""
    listed = state[ADMINS].since
    if command.user_id not in listed:
        return Refuse("not_an_admin", 404)
    if len(listed) == 1:
        return Refuse("last_admin")
    return [AdminRemoved(user_id=command.user_id, by=case.actor.id, at=case.now)]


def dismiss(state: Documents, command: DismissAdmin, case: Case) -> Decision:
    """They are like everybody else, and what they were given as an admin is worth nothing any more."""
    if not state[STANDING].admin:
        return Refuse("not_an_admin", 404)
    return [AdminDismissed(user_id=command.user_id, at=case.now)]


def evolve_user(state: Documents, event: AdminAppointed | AdminDismissed) -> Mapping[str, State]:
    """Whether the user is an admin."""
    standing: Standing = state[STANDING]
    if isinstance(event, AdminAppointed):
        return {STANDING: replace(standing, admin=True)}
    return {STANDING: replace(standing, admin=False, not_before=event.at)}


def evolve_list(state: Documents, event: AdminAdded | AdminRemoved) -> Mapping[str, State]:
    """Who is on the list."""
    left = {name: since for name, since in state[ADMINS].since.items() if name != event.user_id}
    return {ADMINS: Admins({**left, event.user_id: event.at} if isinstance(event, AdminAdded) else left)}


ADMIN_LIST = Concern(
    documents={ADMINS: Admins},
    rules={
        AddAdmin: Rule(add, at_user),
        ListAdmin: Rule(put_on_list, at_list),
        ConfirmAdmin: Rule(confirm),
        RemoveAdmin: Rule(remove, at_list),
        DismissAdmin: Rule(dismiss, at_user),
    },
    changes={
        **dict.fromkeys((AdminAppointed, AdminDismissed), Change(evolve_user, at_user)),
        **dict.fromkeys((AdminAdded, AdminRemoved), Change(evolve_list, at_list)),
    },
)
