"""Sanctions: users are warned, restricted and banned, appeal, and are free again; and who the admins are, whom nobody bans.

Every sanction has an id of the caller's choice, one of the user's own. What it keeps from a user is told to the edge by the standing of
`agents/governance/view`: the banned have no session and no command but those that their contract allows, the restricted none in the domains of the restriction.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from streams.contract import Command, Event, Id, Moment, Name, Reason, Text
from streams.personal import Personal
from topics.governance.terms import GOVERNANCE, PROGRAM, Program

MOST_RESTRICTIONS = 20  # of a user at a time

SanctionKind = Literal["warning", "ban", "restriction"]
SanctionEnd = Literal["expired", "lifted", "appeal"]
"""Why a sanction is over: its time was, somebody lifted it, or an appeal overturned it."""

AppealOutcome = Literal["upheld", "overturned"]
"""What became of an appeal: the sanction stays, or it is over."""

Scope = Annotated[str, Field(strict=True, pattern=r"^[a-z][a-z0-9_]{0,49}$")]
"""A domain of whose commands a restriction takes all away."""

Scopes = Annotated[tuple[Scope, ...], Field(min_length=1, max_length=50)]

Admin = Text
"""The id of whoever acted, as their token had it."""


class OfSanction(BaseModel):
    """What is about a sanction of a user."""

    user_id: Name
    sanction_id: Id


class WarnUser(
    OfSanction,
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=({"user_id": "u1", "sanction_id": "w1", "reason": "Advertises in comments."},),
):
    """Tell a user to mend their ways. Refused: `own_sanction`, `sanction_exists`."""

    reason: Reason


class BanUser(
    OfSanction,
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=(
        {"user_id": "u1", "sanction_id": "b1", "reason": "Advertises again.", "until": "2199-12-31T00:00:00Z"},
        {"user_id": "u2", "sanction_id": "b2", "reason": "Is no person."},
    ),
):
    """Shut a user out until then, or for ever: all their sessions end at once, and for good.

    Refused: `own_sanction`, `is_admin` (remove them from the admins first), `already_banned` with the ban that there is, `sanction_exists`, and `until_is_past` (422).
    """

    reason: Reason
    until: Moment | None = None


class UnbanUser(
    OfSanction,
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=({"user_id": "u2", "sanction_id": "b2", "reason": "Is a person after all."},),
    after=("ban_user",),
):
    """End a ban; the user signs in anew. Refused: `own_sanction`, `sanction_not_found`, `sanction_over`."""

    reason: Reason


class RestrictUser(
    OfSanction,
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=(
        {"user_id": "u1", "sanction_id": "r1", "scopes": ["quests"], "reason": "Shows what others did."},
        {
            "user_id": "u1",
            "sanction_id": "r2",
            "scopes": ["points", "referrals"],
            "reason": "Invites themselves.",
            "until": "2199-12-31T00:00:00Z",
        },
    ),
):
    """Take the commands of some domains from a user until then, or for ever; whatever they read stays readable.

    Refused: `own_sanction`, `is_admin`, `sanction_exists`, `too_many_restrictions`, and `until_is_past` (422).
    """

    scopes: Scopes
    reason: Reason
    until: Moment | None = None


class LiftRestriction(
    OfSanction,
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=({"user_id": "u1", "sanction_id": "r1", "reason": "Did it themselves."},),
    after=("restrict_user",),
):
    """End a restriction. Refused: `own_sanction`, `sanction_not_found`, `sanction_over`."""

    reason: Reason


class ExpireSanction(OfSanction, Command, topic=GOVERNANCE, services=("governance",)):
    """The time of a ban or a restriction is over; refused (`not_due`) before."""


class AppealSanction(
    OfSanction,
    Command,
    topic=GOVERNANCE,
    roles=("User",),
    owner="user_id",
    examples=({"user_id": "u1", "sanction_id": "w1", "text": "It was no advertisement."},),
    after=("warn_user",),
    despite_sanctions=True,
):
    """Ask that somebody else looks at a sanction, once; the banned and the restricted may, too.

    Refused: `sanction_not_found`, `sanction_over`, `already_appealed`; and `not_yours` (403), even for an Admin.
    """

    text: Personal[Annotated[Text, Field(min_length=1)]]


class DecideSanctionAppeal(
    OfSanction,
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=({"user_id": "u1", "sanction_id": "w1", "outcome": "overturned", "reason": "It was none."},),
    after=("appeal_sanction",),
):
    """Decide an appeal; a sanction that is overturned is over.

    Refused: `own_sanction`, `own_decision` (403) for whoever imposed the sanction, `sanction_not_found`, `not_appealed`, `already_decided`.
    """

    outcome: AppealOutcome
    reason: Reason


class AddAdmin(
    Command,
    topic=GOVERNANCE,
    roles=("Admin",),
    examples=({"user_id": "root"}, {"user_id": "deputy"}),
):
    """Put a user on the list of admins, whom nobody bans or restricts; pending until they are on it. Refused: `already_admin`, `banned`, `restricted`."""

    user_id: Name


class ListAdmin(Command, topic=GOVERNANCE, key="program", services=("governance",)):
    """Second step of an addition, at the list; `appointment` is the command that waits for the end."""

    program: Program = PROGRAM
    user_id: Name
    appointment: Name
    added_by: Admin


class ConfirmAdmin(Command, topic=GOVERNANCE, services=("governance",)):
    """Last step of an addition, at the user."""

    user_id: Name
    appointment: Name


class RemoveAdmin(
    Command,
    topic=GOVERNANCE,
    key="program",
    roles=("Admin",),
    examples=({"user_id": "deputy"},),
    after=("add_admin",),
):
    """Take a user off the list of admins; their sessions end. Refused: `not_an_admin` (404), and `last_admin`, who stays."""

    program: Program = PROGRAM
    user_id: Name


class DismissAdmin(Command, topic=GOVERNANCE, services=("governance",)):
    """Last step of a removal, at the user."""

    user_id: Name


class SanctionImposed(OfSanction):
    """Who imposed a sanction, when and why."""

    reason: Reason
    by: Admin
    at: Moment


class UserWarned(SanctionImposed, Event, topic=GOVERNANCE):
    """A user was warned."""


class UserBanned(SanctionImposed, Event, topic=GOVERNANCE):
    """A user is banned until then, or for ever; what was given to them as a session before `at` is worth nothing any more."""

    until: Moment | None = None


class UserRestricted(SanctionImposed, Event, topic=GOVERNANCE):
    """A user may command nothing in these domains until then, or for ever."""

    scopes: Scopes
    until: Moment | None = None


class UserUnbanned(OfSanction, Event, topic=GOVERNANCE):
    """A ban is over before its time."""

    cause: SanctionEnd
    reason: Reason
    by: Admin
    at: Moment


class BanExpired(OfSanction, Event, topic=GOVERNANCE):
    """A ban is over since its time is."""

    at: Moment


class RestrictionLifted(OfSanction, Event, topic=GOVERNANCE):
    """A restriction is over; who ended it and why is told unless its time was over."""

    cause: SanctionEnd
    reason: Reason | None = None
    by: Admin | None = None
    at: Moment


class SanctionAppealFiled(OfSanction, Event, topic=GOVERNANCE):
    """A user asks that somebody else looks at a sanction."""

    kind: SanctionKind
    text: Personal[Text]
    filed_at: Moment


class SanctionAppealDecided(OfSanction, Event, topic=GOVERNANCE):
    """An appeal is decided; an overturned sanction's own end is told beside it."""

    outcome: AppealOutcome
    reason: Reason
    by: Admin
    decided_at: Moment


class AdminAppointed(Event, topic=GOVERNANCE):
    """A user is to be on the list of admins, and cannot be banned from now on."""

    user_id: Name
    appointment: Name
    by: Admin


class AdminAdded(Event, topic=GOVERNANCE, key="program"):
    """A user is on the list of admins."""

    program: Program = PROGRAM
    user_id: Name
    appointment: Name
    by: Admin
    at: Moment


class AdminRemoved(Event, topic=GOVERNANCE, key="program"):
    """A user is no longer on the list of admins."""

    program: Program = PROGRAM
    user_id: Name
    by: Admin
    at: Moment


class AdminDismissed(Event, topic=GOVERNANCE):
    """A user who was an admin can be banned again; what was given to them as a session before `at` is worth nothing any more."""

    user_id: Name
    at: Moment
