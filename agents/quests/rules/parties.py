"""Parties: an owner gathers them, users answer, all set out together, and the reward comes when enough of them have completed the quest."""

from datetime import datetime
from typing import Any

from agents.quests.rules.documents import PARTIES, QUEST, RECORD, RUNS, Documents, Party, QuestTerms
from agents.quests.rules.gathering import evolve, name_of, party_key
from agents.quests.rules.runs import run_terms, started, unavailable, unready
from agents.quests.rules.story import BOARDS, Story, contract_of
from streams.decision import Case, Decision, Pending, Refuse, Settle, Timer
from topics.quests import (
    INVITATION,
    AcceptPartyInvitation,
    AdmitPartyMember,
    CreateQuestParty,
    DeclinePartyInvitation,
    EndPartySeat,
    ExpirePartyInvitations,
    InviteToParty,
    LeaveParty,
    NotePartyMember,
    OfMember,
    OfParty,
    OfSeat,
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
    QuestAbandoned,
    QuestFailed,
    QuestPartyCompleted,
    QuestPartyCreated,
    QuestPartyDisbanded,
    QuestPartyFailed,
    QuestPartyStarted,
    RewardPartyMember,
    RunTerms,
    SettlePartySeat,
    StartParty,
    StartPartyQuest,
)

NOT_IN_PARTY = "not_in_party"
NOT_FOUND = Refuse("party_not_found", 404)


# -- what is read, and when the time of a party comes


def reads(message: OfParty) -> tuple[str, ...]:
    """The party for what is decided by its owner's key, else what the player is in and on."""
    match message:
        case CreateQuestParty():
            return RUNS, RECORD, PARTIES, party_key(message.party_id)
        case QuestPartyCreated():
            return PARTIES, party_key(message.party_id)
        case AcceptPartyInvitation() | StartPartyQuest():
            return RUNS, RECORD, PARTIES
        case LeaveParty() | EndPartySeat():
            return RUNS, PARTIES
        case RewardPartyMember():
            return RECORD, PARTIES
    return (PARTIES,) if isinstance(message, OfSeat) else (party_key(message.party_id),)


def consults(command: OfParty) -> tuple[str, ...]:
    """The quest that a party is gathered for; the party that a user joins; leaderboards where experience is earned."""
    match command:
        case CreateQuestParty():
            return (f"{command.quest_id}/{QUEST}",)
        case AcceptPartyInvitation():
            return (_place(command),)
        case RewardPartyMember():
            return (BOARDS,)
    return ()


def _place(command: OfParty) -> str:
    return f"{command.owner_id}/{party_key(command.party_id)}"


def timer(owner_id: str, party_id: str, party: Party) -> Timer | None:
    """An invitation's time is over."""
    if not party.invited:
        return None
    return Timer(min(party.invited.values()), ExpirePartyInvitations(owner_id=owner_id, party_id=party_id))


def decide(state: Documents, command: OfParty, case: Case) -> Decision:
    """What a command leads to that is about a party, or about somebody's place in one."""
    match command:
        case CreateQuestParty():
            return _create(state, command, case)
        case AcceptPartyInvitation():
            return _accept(state, case.consulted[_place(command)], command, case)
        case LeaveParty():
            return _leave(state, command)
        case SettlePartySeat():
            return _settle(state, command)
        case StartPartyQuest() | EndPartySeat() | RewardPartyMember():
            return _go_on(state, command, case)
    party: Party = state[party_key(command.party_id)]
    return NOT_FOUND if party.status == "unknown" else _of_party(party, command, case)


def _of_party(party: Party, command: OfParty, case: Case) -> Decision:
    match command:
        case InviteToParty():
            return _invite(party, command, case)
        case AdmitPartyMember():
            code = _inadmissible(party, command.user_id, case.now)
            about = _member(command)
            told = PartyMemberRefused(**about, code=code) if code else PartyMemberJoined(**about)
            return _then(party, command, [told], case.now)
        case DeclinePartyInvitation():
            if code := _inadmissible(party, command.user_id, case.now):
                return Refuse(code)
            return _then(party, command, [PartyInvitationDeclined(**_member(command))], case.now)
        case StartParty():
            return _start(party, command, case)
        case NotePartyMember():
            return _note(party, command, case)
        case ExpirePartyInvitations():
            about = {"owner_id": command.owner_id, "party_id": command.party_id}
            due = [user for user, until in party.invited.items() if case.now >= until]
            expired = [PartyInvitationExpired(**about, user_id=user) for user in due]
            return _then(party, command, expired, case.now) if expired else Refuse("not_due")
    raise NotImplementedError(type(command).__name__)


# -- by the owner's key


def _create(state: Documents, command: CreateQuestParty, case: Case) -> Decision:
    quest = case.consulted[f"{command.quest_id}/{QUEST}"]
    terms: QuestTerms | None = quest.live
    if terms is None:
        return Refuse("quest_not_found", 404)
    if terms.group is None:
        return Refuse("no_group_quest")
    if state[party_key(command.party_id)].status != "unknown":
        return Refuse("party_exists")
    return (
        unavailable(quest, terms, case.now)
        or unready(state, terms, command.quest_id)
        or [
            QuestPartyCreated(
                **dict(command), revision=quest.live_revision, author_id=quest.author_id, terms=contract_of(terms)
            )
        ]
    )


def _gone(party: Party) -> str | None:
    """Why nobody is taken in any more, if so."""
    match party.status:
        case "gathering":
            return None
        case "disbanded":
            return "party_disbanded"
    return "party_started"


def _inadmissible(party: Party, user_id: str, now: datetime) -> str | None:
    """Why the user can no longer answer an invitation, if so."""
    if code := _gone(party):
        return code
    if user_id not in party.invited:
        return "not_invited"
    return "invitation_expired" if now >= party.invited[user_id] else None


def _invite(party: Party, command: InviteToParty, case: Case) -> Decision:
    assert party.terms, "there is a party"
    assert party.terms.group, "it is for a quest for groups"
    if code := _gone(party):
        return Refuse(code)
    if command.owner_id in command.user_ids:
        return Refuse("own_invitation", 422)
    for code, those in (("already_member", party.members), ("already_invited", party.invited)):
        if again := sorted({*command.user_ids} & {*those}):
            return Refuse(code, details={"user_ids": again})
    if len(party.members) + len(party.invited) + len(command.user_ids) > party.terms.group.max:
        return Refuse("party_full", details={"max": party.terms.group.max})
    about: dict[str, Any] = {"owner_id": command.owner_id, "party_id": command.party_id, "quest_id": party.quest_id}
    until = case.now + INVITATION
    return [PartyInvitationSent(**about, user_id=user, expires_at=until) for user in command.user_ids]


def _start(party: Party, command: StartParty, case: Case) -> Decision:
    assert party.terms, "there is a party"
    assert party.terms.group, "it is for a quest for groups"
    if code := _gone(party):
        return Refuse(code)
    if len(party.members) < party.terms.group.min:
        return Refuse("too_few_members", details={"min": party.terms.group.min})
    if party.terms.is_over(case.now):
        return Refuse("quest_over")
    return [_started(party, party.terms, command, case.now)]


def _started(party: Party, terms: QuestTerms, command: OfParty, now: datetime) -> QuestPartyStarted:
    return QuestPartyStarted(
        owner_id=command.owner_id,
        party_id=command.party_id,
        members=party.those("on"),
        needed=(terms.group and terms.group.needed) or len(party.members),
        **run_terms(party.quest_id, party.revision, party.author_id, terms, now),
    )


def _note(party: Party, command: NotePartyMember, case: Case) -> Decision:
    """A member has completed the quest, or has left; a party that is no more does not care."""
    if party.members.get(command.user_id) != "on" or party.status in ("failed", "disbanded"):
        return Refuse(NOT_IN_PARTY)
    about = _member(command)
    if command.completed_at:
        return _then(party, command, [PartyMemberFinished(**about, completed_at=command.completed_at)], case.now)
    left = PartyMemberLeft(**about)
    if party.status == "gathering" and command.user_id == command.owner_id:
        others = tuple(user for user in party.members if user != command.owner_id)
        gone = QuestPartyDisbanded(owner_id=command.owner_id, party_id=command.party_id, members=others)
        return [left, gone]
    return _then(party, command, [left], case.now)


def _then(party: Party, command: OfParty, events: list[Any], now: datetime) -> list[Any]:
    """What happened, and what follows from it for the party."""
    name = party_key(command.party_id)
    state: dict[str, Any] = {name: party}
    for event in events:
        state |= evolve(state, event)
    return [*events, *_following(state[name], command, events[-1], now)]


def _following(party: Party, command: OfParty, last: Any, now: datetime) -> list[Any]:
    """A party sets out when nobody has still to answer; it has completed the quest when enough have, and failed when too few still can."""
    terms, done = party.terms, party.those("completed")
    assert terms, "there is a party"
    assert terms.group, "it is for a quest for groups"
    about: dict[str, Any] = {"owner_id": command.owner_id, "party_id": command.party_id}
    match party.status:
        case "gathering" if not isinstance(last, PartyMemberRefused):
            ready = not party.invited and len(party.members) >= terms.group.min and not terms.is_over(now)
            return [_started(party, terms, command, now)] if ready else []
        case "started" if isinstance(last, PartyMemberFinished) and len(done) >= party.needed:
            completed = QuestPartyCompleted(**about, quest_id=party.quest_id, completed_at=party.reached)
            return [completed, *(_due(party, terms, command, user) for user in done)]
        case "started" if len(done) + len(party.those("on")) < party.needed:
            return [QuestPartyFailed(**about, members=party.those("on", "completed"))]
        case "completed" if isinstance(last, PartyMemberFinished):
            return [_due(party, terms, command, last.user_id)]
    return []


def _due(party: Party, terms: QuestTerms, command: OfParty, user_id: str) -> PartyRewardDue:
    return PartyRewardDue(
        owner_id=command.owner_id,
        party_id=command.party_id,
        user_id=user_id,
        quest_id=party.quest_id,
        xp=terms.xp,
        points=terms.points,
        badge_id=terms.badge_id,
        completed_at=party.reached,
    )


def _member(command: OfMember) -> dict[str, Any]:
    return {name: getattr(command, name) for name in OfMember.model_fields}


# -- by a player's key


def _accept(state: Documents, party: Party, command: AcceptPartyInvitation, case: Case) -> Decision:
    """Keep a seat, so that the user is in no other party for the quest, and ask the party."""
    if party.terms is None:
        return NOT_FOUND
    if refusal := unready(state, party.terms, party.quest_id):
        return refusal
    about = _member(command)
    return Pending([PartyInvitationAccepted(**about, quest_id=party.quest_id, command_id=case.command_id)])


def _settle(state: Documents, command: SettlePartySeat) -> Decision:
    """The party has answered; until then the seat is kept."""
    about, quest_id = _member(command), state[PARTIES].quest_of(name_of(command))
    seat = state[PARTIES].seats.get(quest_id)
    if seat is None or not seat.command_id:
        return Refuse(NOT_IN_PARTY)
    if command.code:
        return Settle(seat.command_id, [PartyJoinFailed(**about, code=command.code)], Refuse(command.code))
    return Settle(seat.command_id, [PartyJoined(**about)])


def _leave(state: Documents, command: LeaveParty) -> Decision:
    quest_id = state[PARTIES].quest_of(name_of(command))
    if quest_id is None:
        return Refuse(NOT_IN_PARTY, 404)
    if state[PARTIES].seats[quest_id].command_id:
        return Refuse("not_joined_yet")
    return [_off(state, command, quest_id, "left")]


def _off(state: Documents, command: LeaveParty | EndPartySeat, quest_id: str, reason: Any) -> Any:
    """Off the quest, if the user is on it, and out of the party."""
    run, about = state[RUNS].active.get(quest_id), {"user_id": command.user_id, "quest_id": quest_id}
    if run is None:
        return PartyLeft(**_member(command), reason=reason)
    ended = QuestAbandoned if reason == "left" else QuestFailed
    return ended(**about, run=run.run, party=contract_of(run.party))


def _go_on(state: Documents, command: StartPartyQuest | EndPartySeat | RewardPartyMember, case: Case) -> Decision:
    """What comes of a party for one who is still in it."""
    quest_id = state[PARTIES].quest_of(name_of(command))
    if quest_id is None or state[PARTIES].seats[quest_id].command_id:
        return Refuse(NOT_IN_PARTY)  # a seat not yet confirmed: it was sent for the one that the user had before
    match command:
        case StartPartyQuest():
            terms = {name: getattr(command, name) for name in RunTerms.model_fields}
            return [started(state, command.user_id, terms, case.now, contract_of(name_of(command)))]
        case EndPartySeat():
            return [_off(state, command, quest_id, command.reason)]
        case RewardPartyMember():
            return _reward(Story(state, command.user_id, case), command)
    raise NotImplementedError(command.wire_name)


def _reward(story: Story, command: RewardPartyMember) -> Decision:
    run = story.state[RECORD].begun[command.quest_id]
    at, about = command.completed_at, {**_member(command), "quest_id": command.quest_id, "run": run}
    story.tell(PartyRewardGranted(**about, points=command.points, completed_at=at))
    story.award_xp(command.xp, "quest", f"{command.quest_id}:{run}", at)
    story.award_badge(command.badge_id, f"quest:{command.quest_id}:{run}")
    return story.events
