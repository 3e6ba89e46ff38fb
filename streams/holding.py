"""Content that is held back until it is approved, by one line of a command's contract::

    class PublishStory(Command, topic=STORIES, roles=("User",), owner="author_id", held=until_approved(text="text")):

Such a command is decided as ever. One that is refused is refused; one that would be accepted is *held*: it leaves `content_held` and nothing else, so no
rule, row, policy or reader of the domain hears of it, and its result is pending. When the revision is approved the command is decided again, by what is true then,
and its result is what comes of that; when it is rejected, or a later revision was published before, the result says so. What was rejected stays with
the domain until something later is published: an appeal may approve it yet. What was published and is rejected then is taken down by the command
that `down` names.

The declaration gives the domain's topic the messages below, and `streams.agent.agents_of` its decider and policies what they need; `streams` knows who approves
only by the two events that the declaration names, which carry `subject` and `revision`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import field
from msgspec.structs import replace
from pydantic import BaseModel, Field

from streams.contract import Command, Event, Id, Name, Text, Topic
from streams.decision import Case, Decision, Pending, Refuse, Settle, State, Timer
from streams.envelope import Actor
from streams.errors import ContractError
from streams.sink import Fact

WORD = "held_content"
"""Where an aggregate's held content stands."""

MOST_HELD = 20  # revisions of an aggregate that are kept at a time
LONGEST_SUBJECT = 128

CONTENT_HELD = "content_held"

ActorType = Literal["user", "service"]


@dataclass(frozen=True)
class Held:
    """Class argument `held` of a command: its content waits for `approved`, and for good after `rejected`.

    The author is the command's owner. `title`, `text` and `media` name the fields that a moderator is shown, `kind` says what it is (by default what the key is the id of).
    `down` names a command of the domain that takes nothing but the key, lists the domain in `services`, and takes down what was published.
    """

    approved: type[Event]
    rejected: type[Event]
    kind: str | None = None
    title: str | None = None
    text: str | None = None
    media: str | None = None
    down: str | None = None

    def declare(self, command: type[Command]) -> None:
        """Give the command's topic what holding back needs. Raises ContractError for a command whose content cannot be held."""
        if command.owner is None:
            raise ContractError(f"{command.__name__}: what is held has an author; declare owner.")
        shown = {name for name in (self.title, self.text, self.media) if name}
        if unknown := shown - set(command.model_fields):
            raise ContractError(f"{command.__name__}: held names {min(unknown)!r}, which is not one of its fields.")
        if CONTENT_HELD not in command.topic.events:
            _declare_messages(command.topic)

    def kind_of(self, command: type[Command]) -> str:
        """What the content is called among the moderators."""
        return self.kind or command.key_field.removesuffix("_id")


# -- messages, which every domain that holds anything has


class OfContent(BaseModel):
    """A revision of an aggregate's content."""

    aggregate_id: Name
    revision: Annotated[int, Field(strict=True, ge=1)]

    @property
    def subject(self) -> str:
        """As it is called among the moderators."""
        topic: Topic = self.topic  # type: ignore[attr-defined]  # every message has one
        return f"{topic.domain}:{self.aggregate_id}"


class Given(OfContent):
    """A command as it was given, its personal fields sealed, under which id and by whom."""

    command: Id
    command_version: int
    payload: dict[str, Any]
    command_id: Name
    actor_type: ActorType
    actor_id: Text
    actor_role: Text

    def given(self) -> Command:
        """The command itself; raises what reading a record raises."""
        contract: type[Command] = self.topic.commands[self.command]  # type: ignore[attr-defined]
        return contract.read(self.command_version, json.dumps(self.payload).encode())


class ToHold(Given):
    """It waits, and the result of the command is pending."""

    author_id: Name
    kind: Id


class ToDiscard(OfContent):
    """It is not published, or no longer, and why."""

    code: Id = "content_rejected"
    reason: Text | None = None


class ToPublish(Given):
    """It was approved, and is given again; `settled` where the command has its result, since it had been rejected before."""

    settled: bool = False


def _declare_messages(topic: Topic) -> None:
    of: Any = {"topic": topic, "key": "aggregate_id"}
    own: Any = {**of, "services": (topic.domain,)}

    class ReleaseContent(OfContent, Command, **own):
        """A revision was approved."""

    class DiscardContent(ToDiscard, Command, **own):
        """A revision was rejected."""

    class PublishContent(ToPublish, Command, **own):
        """Decide the command that was held as if it had come just now; its result is what comes of that."""

    class ContentHeld(ToHold, Event, **of):
        """A revision waits for approval; nothing of it is published."""

    class ContentReleased(ToPublish, Event, **of):
        """A revision was approved and is about to be published."""

    class ContentDiscarded(ToDiscard, Event, **of):
        """A revision is not published: it was rejected, a later one was before it (`superseded`), or the domain refuses it by now. `down` tells that it was."""

        down: bool = False


GIVEN = ("command", "command_version", "payload", "command_id", "actor_type", "actor_id", "actor_role")


# -- state


class HeldContent(State, frozen=True):
    """A command that waits, or was released or discarded; `settled` when its result was known before it was released."""

    command: str = ""
    command_version: int = 1
    payload: dict[str, Any] = field(default_factory=dict)
    command_id: str = ""
    actor_type: ActorType = "user"
    actor_id: str = ""
    actor_role: str = ""
    status: Literal["held", "released", "discarded"] = "held"
    settled: bool = False


class HeldContents(State, frozen=True):
    """The revisions of an aggregate by number; `last` is the newest, `published` the newest released one by command."""

    last: int = 0
    of: dict[int, HeldContent] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)

    def is_superseded(self, revision: int) -> bool:
        """Whether a later revision of the same command was released."""
        return self.published.get(self.of[revision].command, 0) > revision

    def with_one(self, revision: int, content: HeldContent) -> "HeldContents":
        """With this revision so, and without those before it that nobody asks for any more."""
        kept = {n: one for n, one in self.of.items() if one.status == "held" or not self.is_superseded(n)}
        return replace(self, of=kept | {revision: content})


def shown_revision(state: Mapping[str, Any]) -> int:
    """The revision of an aggregate that is published, as moderators call it: for the `project` of a domain, whose readers report what they read by it.

    What was published with nothing held back is revision 1.
    """
    held: HeldContents | None = state.get(WORD)
    return max(held.published.values(), default=1) if held else 1


# -- rules


class HoldingBack:
    """The rules of a decider whose topic holds content back: those that it has, with what becomes of content around them."""

    def __init__(self, decider: Any) -> None:
        """Of a `streams.agent.Decider`."""
        self._rules, self._topic = decider, decider.topic
        self._held = {command: command.held for command in self._topic.commands.values() if command.held}

    def changed(self) -> dict[str, Any]:
        """The fields of the decider that become others."""
        table = self._rules.table
        if WORD in table.types:
            raise ContractError(f"Table {table.name}: {WORD!r} is a word of the core's.")
        table = type(table)(table.name, {**table.types, WORD: HeldContents}, table.version, table.upcasts)
        names = ("decide", "evolve", "reads", "consults", "project", "timer")
        return {"table": table, **{name: getattr(self, name) for name in names}}

    def reads(self, message: Any) -> Iterable[str]:
        """Beside what a message is about, what is held."""
        if type(message) is self._topic.commands["publish_content"]:
            return (*self._rules.reads(message.given()), WORD)
        if isinstance(message, OfContent):
            return (WORD,)
        return (*self._rules.reads(message), WORD)

    def consults(self, command: Any) -> Iterable[str]:
        """What the command that is run consults."""
        if isinstance(command, OfContent):
            return self._rules.consults(command.given()) if isinstance(command, ToPublish) else ()
        found: Iterable[str] = self._rules.consults(command)
        return found

    def decide(self, state: Mapping[str, Any], command: Any, case: Case) -> Decision:
        """What becomes of content, or what the rules say."""
        if type(command) in self._held:
            return self._hold(state, command, case)
        if not isinstance(command, OfContent):
            decision: Decision = self._rules.decide(state, command, case)
            return decision
        held: HeldContents = state[WORD]
        content = held.of.get(command.revision)
        match command:
            case ToPublish():
                return self._publish(state, command, case)
            case ToDiscard():
                return self._discard(held, content, command)
        return self._release(held, content, command) if content else Refuse("content_not_held", 404)

    def evolve(self, state: Mapping[str, Any], event: Any) -> Mapping[str, State]:
        """What is held after an event."""
        if not isinstance(event, OfContent):
            found: Mapping[str, State] = self._rules.evolve(state, event)
            return found
        held: HeldContents = state[WORD]
        revision = event.revision
        match event:
            case ToHold():
                content = HeldContent(**{name: getattr(event, name) for name in GIVEN})
                return {WORD: replace(held, last=revision).with_one(revision, content)}
            case ToPublish():
                held = replace(held, published=held.published | {event.command: revision})
                return {WORD: held.with_one(revision, replace(held.of[revision], status="released"))}
        if revision not in held.of:
            return {}
        return {WORD: held.with_one(revision, replace(held.of[revision], status="discarded", settled=True))}

    def project(self, fact: Fact, state: Mapping[str, Any]) -> Iterable[Any]:
        """No row tells of what is held."""
        event: Any = fact.event
        found: Iterable[Any] = () if isinstance(event, OfContent) else self._rules.project(fact, state)
        return found

    def timer(self, key: str, sub_key: str, document: Any) -> Timer | None:
        """It waits for as long as it takes."""
        if isinstance(document, HeldContents):
            return None
        timer: Timer | None = self._rules.timer(key, sub_key, document)
        return timer

    def verdicts(self) -> dict[type[Event], Callable[[Fact[Any]], Iterable[Command]]]:
        """For a policy on the events of whoever approves."""
        kinds = {(spec.approved, "release_content") for spec in self._held.values()}
        kinds |= {(spec.rejected, "discard_content") for spec in self._held.values()}
        return {event: self._verdict(name) for event, name in kinds}

    def followed(self) -> dict[type[Event], Callable[[Fact[Any]], Iterable[Command]]]:
        """For a policy on the domain's own events: what was released is published, and what was discarded taken down."""
        events = self._topic.events
        return {events["content_released"]: self._republish, events["content_discarded"]: self._take_down}

    # -- what becomes of it

    def _hold(self, state: Mapping[str, Any], command: Command, case: Case) -> Decision:
        """What would be accepted waits."""
        decision = self._rules.decide(state, command, case)
        held: HeldContents = state[WORD]
        if isinstance(decision, Refuse):
            return decision
        if len(held.of) >= MOST_HELD:
            return Refuse("too_many_held", details={"most": MOST_HELD})
        if len(f"{self._topic.domain}:{command.key}") > LONGEST_SUBJECT:
            return Refuse("id_too_long", 422, {"most": LONGEST_SUBJECT - len(self._topic.domain) - 1})
        kind = type(command)
        told = self._topic.events[CONTENT_HELD](
            aggregate_id=command.key,
            revision=held.last + 1,
            command=kind.wire_name,
            command_version=kind.version,
            payload=json.loads(command.to_json()),
            command_id=case.command_id,
            author_id=getattr(command, kind.owner or ""),
            kind=self._held[kind].kind_of(kind),
            actor_type=case.actor.type,
            actor_id=case.actor.id,
            actor_role=case.actor.role,
        )
        return Pending([told])

    def _release(self, held: HeldContents, content: HeldContent, command: OfContent) -> Decision:
        """What was approved is published, unless it is or something later was; that may come after a rejection, by an appeal."""
        about: dict[str, Any] = {"aggregate_id": command.aggregate_id, "revision": command.revision}
        if content.status == "released":
            return Refuse("already_released")
        if held.is_superseded(command.revision):
            return self._over(content, about, Refuse("superseded"))
        given = {name: getattr(content, name) for name in GIVEN}
        return [self._topic.events["content_released"](**about, **given, settled=content.settled)]

    def _discard(self, held: HeldContents, content: HeldContent | None, command: ToDiscard) -> Decision:
        """What was rejected is not published; what was published is taken down, also if it was before anything was held here."""
        about: dict[str, Any] = {"aggregate_id": command.aggregate_id, "revision": command.revision}
        about |= {"code": command.code, "reason": command.reason}
        if content is None and held.last:
            return Refuse("content_not_held", 404)
        if content is not None and content.status == "held":
            details = {"revision": command.revision, "reason": command.reason}
            return self._over(content, about, Refuse(command.code, details=details))
        shown = content is None or (content.status == "released" and not held.is_superseded(command.revision))
        return [self._topic.events["content_discarded"](**about, down=shown)]

    def _publish(self, state: Mapping[str, Any], command: ToPublish, case: Case) -> Decision:
        """The rules say what comes of it now; the author's command gets that result."""
        actor = Actor(command.actor_type, command.actor_id, command.actor_role)
        decision = self._rules.decide(state, command.given(), case._replace(command_id=command.command_id, actor=actor))
        match decision:
            case Refuse():
                return self._over(
                    command, {"aggregate_id": command.aggregate_id, "revision": command.revision}, decision
                )
            case Pending():
                return decision.events  # what settles it goes on
            case Settle():
                return decision
        return decision if command.settled else Settle(command.command_id, decision)

    def _over(self, content: HeldContent | ToPublish, about: dict[str, Any], refuse: Refuse) -> Decision:
        """It is discarded, and the author's command refused if it has no result yet."""
        told = [*refuse.events, self._topic.events["content_discarded"](**{"code": refuse.code, **about})]
        return told if content.settled else Settle(content.command_id, told, refuse)

    # -- policies

    def _verdict(self, name: str) -> Callable[[Fact[Any]], Iterable[Command]]:
        command = self._topic.commands[name]

        def given(fact: Fact[Any]) -> Iterable[Command]:
            verdict = fact.event
            domain, _, key = verdict.subject.partition(":")
            if domain != self._topic.domain:
                return []
            told: dict[str, Any] = {"aggregate_id": key, "revision": verdict.revision}
            if "reason" in command.model_fields:
                told["reason"] = verdict.reason
            return [command(**told)]

        return given

    def _republish(self, fact: Fact[Any]) -> Iterable[Command]:
        return [self._topic.commands["publish_content"](**dict(fact.event))]

    def _take_down(self, fact: Fact[Any]) -> Iterable[Command]:
        if not fact.event.down:
            return []
        downs = {spec.down for spec in self._held.values() if spec.down}
        commands = [self._topic.commands[name] for name in sorted(downs)]
        return [command.model_validate({command.key_field: fact.key}) for command in commands]
