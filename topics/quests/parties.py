"""Quests for groups: an owner gathers a party, whose members set out together; what they and the platform ask for, and what has happened.

A party is decided on under its owner's key, and who is in it under each member's: nobody is in two parties for one quest.
"""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from streams.contract import Command, Event, Id, Moment, Name
from topics.quests.terms import MAX_MEMBERS, QUESTS, OfQuest, QuestTerms, RunTerms, Xp

INVITATION = timedelta(days=7)
"""How long an invitation is open."""


class OfParty(BaseModel):
    """What is about a party, by the name that its owner gave it."""

    owner_id: Name
    party_id: Id


class OfMember(OfParty):
    """What is about a user who is in a party, or may come to be."""

    user_id: Name


class OfSeat(OfMember):
    """What is decided under the user's own key."""


class Reward(BaseModel):
    """What a quest gives."""

    quest_id: Id
    xp: Xp
    points: int
    badge_id: Id | None
    completed_at: Moment


# -- what players ask for


class CreateQuestParty(
    OfParty,
    Command,
    topic=QUESTS,
    key="owner_id",
    roles=("User",),
    owner="owner_id",
    examples=(
        {"owner_id": "u1", "party_id": "weekend", "quest_id": "relay"},
        {"owner_id": "u4", "party_id": "friday", "quest_id": "relay"},
    ),
    after=("publish_quest",),
):
    """Gather a party for a quest for groups, by the terms that are published now. The owner is its first member, and has to be ready to start the quest.

    It sets out when nobody has still to answer and it has the members that the quest asks for, or when its owner says so. A quest for one is
    `no_group_quest`; a user who is in a party for this quest is `in_party`.
    """

    quest_id: Id


class InviteToParty(
    OfParty,
    Command,
    topic=QUESTS,
    key="owner_id",
    roles=("User",),
    owner="owner_id",
    examples=(
        {"owner_id": "u1", "party_id": "weekend", "user_ids": ["u2", "u3", "u5", "u6"]},
        {"owner_id": "u4", "party_id": "friday", "user_ids": ["u7", "u8"]},
    ),
    after=("create_quest_party",),
):
    """Ask users to join; each has a week to answer. All of them are invited, or none: `own_invitation`, `already_invited`, `already_member`, `party_full`.

    Who has declined, has left or did not answer may be asked again, until the party has set out: `party_started`.
    """

    user_ids: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MAX_MEMBERS)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({*self.user_ids}) < len(self.user_ids):
            raise ValueError("each user is invited once")
        return self


class AcceptPartyInvitation(
    OfSeat,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=(
        {"owner_id": "u1", "party_id": "weekend", "user_id": "u2"},
        {"owner_id": "u1", "party_id": "weekend", "user_id": "u5"},
        {"owner_id": "u4", "party_id": "friday", "user_id": "u7"},
    ),
    after=("invite_to_party",),
):
    """Join. The user has to be ready to start the quest; `not_invited`, `invitation_expired`, `party_started`, or `party_disbanded` where it is too late."""


class DeclinePartyInvitation(
    OfMember,
    Command,
    topic=QUESTS,
    key="owner_id",
    roles=("User",),
    owner="user_id",
    examples=({"owner_id": "u1", "party_id": "weekend", "user_id": "u3"},),
    after=("invite_to_party",),
):
    """Do not join."""


class StartParty(
    OfParty,
    Command,
    topic=QUESTS,
    key="owner_id",
    roles=("User",),
    owner="owner_id",
    examples=({"owner_id": "u4", "party_id": "friday"},),
    after=("accept_party_invitation",),
):
    """Set out with those who have joined, without waiting for the others' answers; `too_few_members` if they are less than the quest asks for."""


class LeaveParty(
    OfSeat,
    Command,
    topic=QUESTS,
    roles=("User",),
    owner="user_id",
    examples=({"owner_id": "u1", "party_id": "weekend", "user_id": "u5"},),
    after=("accept_party_invitation",),
):
    """Be in it no more, and give up the quest if it has set out. When the owner leaves before that, the party is disbanded."""


# -- what follows


class AdmitPartyMember(OfMember, Command, topic=QUESTS, key="owner_id", services=("quests",)):
    """A user accepts an invitation, and keeps a seat for it."""


class SettlePartySeat(OfSeat, Command, topic=QUESTS, services=("quests",)):
    """The party has taken the user in, or not because of `code`."""

    code: Name | None = None


class StartPartyQuest(OfSeat, RunTerms, Command, topic=QUESTS, services=("quests",)):
    """The party sets out, and the user with it."""


class NotePartyMember(OfMember, Command, topic=QUESTS, key="owner_id", services=("quests",)):
    """A member has completed the quest at `completed_at`, or has left."""

    completed_at: Moment | None = None


class RewardPartyMember(OfSeat, Reward, Command, topic=QUESTS, services=("quests",)):
    """The party has completed the quest, and so has this member."""


class EndPartySeat(OfSeat, Command, topic=QUESTS, services=("quests",)):
    """The party is no more."""

    reason: Literal["disbanded", "failed"]


class ExpirePartyInvitations(OfParty, Command, topic=QUESTS, key="owner_id", services=("quests",)):
    """The time of an invitation is over."""


# -- what has happened to a party


class QuestPartyCreated(OfParty, Event, topic=QUESTS, key="owner_id"):
    """The owner gathers a party for a quest by these terms."""

    quest_id: Id
    revision: int
    author_id: Name
    terms: QuestTerms


class PartyInvitationSent(OfMember, Event, topic=QUESTS, key="owner_id"):
    """The user may join until `expires_at`."""

    quest_id: Id
    expires_at: Moment


class PartyInvitationDeclined(OfMember, Event, topic=QUESTS, key="owner_id"):
    """The user does not join."""


class PartyInvitationExpired(OfMember, Event, topic=QUESTS, key="owner_id"):
    """The user did not answer in time."""


class PartyMemberJoined(OfMember, Event, topic=QUESTS, key="owner_id"):
    """The user is a member."""


class PartyMemberRefused(OfMember, Event, topic=QUESTS, key="owner_id"):
    """The user cannot join any more."""

    code: Name


class PartyMemberLeft(OfMember, Event, topic=QUESTS, key="owner_id"):
    """The user is a member no more."""


class QuestPartyStarted(OfParty, RunTerms, Event, topic=QUESTS, key="owner_id"):
    """The party has set out with these members, of whom so many are `needed`; invitations that nobody answered are void."""

    members: tuple[Name, ...]
    needed: int


class PartyMemberFinished(OfMember, Event, topic=QUESTS, key="owner_id"):
    """The member has done all mandatory tasks."""

    completed_at: Moment


class QuestPartyCompleted(OfParty, Event, topic=QUESTS, key="owner_id"):
    """As many members as are needed have completed the quest."""

    quest_id: Id
    completed_at: Moment


class PartyRewardDue(OfMember, Reward, Event, topic=QUESTS, key="owner_id"):
    """The member has earned this, since both they and the party have completed the quest."""


class QuestPartyFailed(OfParty, Event, topic=QUESTS, key="owner_id"):
    """There are too few left who could still complete the quest; `members` are those who had not left."""

    members: tuple[Name, ...]


class QuestPartyDisbanded(OfParty, Event, topic=QUESTS, key="owner_id"):
    """The owner has left before the party set out; `members` are the others."""

    members: tuple[Name, ...]


# -- what has happened to a user


class PartyInvitationAccepted(OfSeat, Event, topic=QUESTS):
    """The user keeps a seat for the party, which has yet to take them in."""

    quest_id: Id
    command_id: Name


class PartyJoined(OfSeat, Event, topic=QUESTS):
    """The party has taken the user in."""


class PartyJoinFailed(OfSeat, Event, topic=QUESTS):
    """The party has not taken the user in."""

    code: Name


class PartyLeft(OfSeat, Event, topic=QUESTS):
    """The user is not in the party any more, because they `left` or because it was `disbanded` or has `failed`."""

    reason: Literal["left", "disbanded", "failed"]


class PartyRewardGranted(OfSeat, OfQuest, Event, topic=QUESTS):
    """The user is rewarded for what the party has completed; `points` are to be awarded once for this run."""

    run: int
    points: int
    completed_at: Moment
