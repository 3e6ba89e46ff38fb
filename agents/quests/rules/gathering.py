"""What the events of parties change: the party, under its owner's key, and what each player is in."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from agents.quests.rules.documents import PARTIES, PARTY, Documents, Parties, Party, PartyName, QuestTerms, Seat
from streams.decision import State
from topics.quests import (
    OfParty,
    PartyInvitationAccepted,
    PartyInvitationDeclined,
    PartyInvitationExpired,
    PartyInvitationSent,
    PartyJoined,
    PartyJoinFailed,
    PartyLeft,
    PartyMemberFinished,
    PartyMemberJoined,
    PartyMemberLeft,
    PartyMemberRefused,
    PartyRewardDue,
    PartyRewardGranted,
    QuestPartyCompleted,
    QuestPartyCreated,
    QuestPartyDisbanded,
    QuestPartyFailed,
    QuestPartyStarted,
)


def party_key(party_id: str) -> str:
    """Where a party is, under its owner's key."""
    return f"{PARTY}/{party_id}"


def name_of(message: OfParty) -> PartyName:
    """The party that a message is about."""
    return PartyName(message.owner_id, message.party_id)


def evolve(state: Documents, event: Any) -> Mapping[str, State]:
    """The documents that an event of a party changes, as they are after it."""
    match event:
        case PartyMemberRefused() | PartyRewardDue():
            return {}
        case PartyInvitationAccepted():
            return {PARTIES: _seated(state[PARTIES], event.quest_id, Seat(name_of(event), event.command_id))}
        case PartyJoined():
            quest_id = state[PARTIES].quest_of(name_of(event))
            return {PARTIES: _seated(state[PARTIES], quest_id, Seat(name_of(event)))}
        case PartyJoinFailed() | PartyLeft() | PartyRewardGranted():
            return {PARTIES: without(state[PARTIES], state[PARTIES].quest_of(name_of(event)))}
        case QuestPartyCreated():
            terms = msgspec.convert(event.terms, QuestTerms, from_attributes=True)
            party = Party("gathering", event.quest_id, event.revision, event.author_id, terms)
            return {
                party_key(event.party_id): replace(party, members={event.owner_id: "on"}),
                PARTIES: _seated(state[PARTIES], event.quest_id, Seat(name_of(event))),
            }
        case OfParty():
            name = party_key(event.party_id)
            return {name: _changed(state[name], event)}
    raise NotImplementedError(event.wire_name)


def _changed(party: Party, event: Any) -> Party:
    invited = party.invited
    if hasattr(event, "user_id"):
        invited = {user: until for user, until in invited.items() if user != event.user_id}
    match event:
        case PartyInvitationSent():
            return replace(party, invited={**invited, event.user_id: event.expires_at})
        case PartyInvitationDeclined() | PartyInvitationExpired():
            return replace(party, invited=invited)
        case PartyMemberJoined():
            return replace(party, invited=invited, members={**party.members, event.user_id: "on"})
        case PartyMemberFinished():
            reached = max(party.reached or event.completed_at, event.completed_at)
            return replace(party, members={**party.members, event.user_id: "completed"}, reached=reached)
        case PartyMemberLeft() if party.status == "gathering":
            return replace(party, members={user: on for user, on in party.members.items() if user != event.user_id})
        case PartyMemberLeft():
            return replace(party, members={**party.members, event.user_id: "left"})
    return _moved_on(party, event)


def _moved_on(party: Party, event: Any) -> Party:
    match event:
        case QuestPartyStarted():
            return replace(party, status="started", invited={}, needed=event.needed)
        case QuestPartyCompleted():
            return replace(party, status="completed")
        case QuestPartyFailed():
            return replace(party, status="failed")
        case QuestPartyDisbanded():
            return replace(party, status="disbanded", invited={}, members={})
    raise NotImplementedError(event.wire_name)


def _seated(parties: Parties, quest_id: str, seat: Seat) -> Parties:
    return Parties({**parties.seats, quest_id: seat})


def without(parties: Parties, quest_id: str | None) -> Parties:
    """Without the party for this quest."""
    return Parties({name: seat for name, seat in parties.seats.items() if name != quest_id})
