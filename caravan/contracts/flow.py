"""Who publishes a message and who listens to it, as the agents of all domains declare."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from streams.agent import Agent, Changelog, Decider, Policy, Projection, no_timer
from streams.contract import Command, Event, Topic
from streams.effect import Effect


@dataclass(frozen=True)
class Domain:
    """A domain as its code declares it: its contract, its agents, and its views by name."""

    topic: Topic
    agents: Sequence[Agent] = ()
    views: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


Party = dict[str, Any]
"""Somebody at an end of a topic: `kind` (edge, policy, effect, timer, decider, rebuild, projection, changelog), `domain` and `name`."""


def publishers(command: type[Command], domains: Iterable[Domain]) -> list[Party]:
    """Who may put this command on its topic."""
    found: list[Party] = []
    if command.roles and not command.retired:
        found.append({"kind": "edge", "roles": list(command.roles), "owner": command.owner})
    own = [agent for domain in domains for agent in domain.agents if agent.target.domain in command.services]
    services = [agent for agent in own if command in commands_of(agent)]
    found += [_party(agent) for agent in services]
    timed = [agent for agent in own if isinstance(agent, Decider) and agent.timer is not no_timer]
    if not services and command.topic.domain in command.services:
        found += [{"kind": "timer", "domain": agent.name, "name": agent.name} for agent in timed]
    return found


def deciders(topic: Topic, domains: Iterable[Domain]) -> list[Party]:
    """Who takes the topic's commands and tells its events."""
    return [_party(a) for d in domains for a in d.agents if isinstance(a, Decider) and a.topic is topic]


def listeners(topic: Topic, event: type[Event] | None, domains: Iterable[Domain]) -> list[Party]:
    """Who reads this event; None stands for what the core itself tells."""
    return [_reader(a) for d in domains for a in d.agents if a.source is topic and _hears(a, event)]


def commands_of(agent: Agent) -> set[type[Command]]:
    """The commands that a policy or an effect gives, as its functions are annotated; where they are not, all that its domain may issue."""
    if isinstance(agent, Policy):
        functions: Iterable[Any] = agent.on.values()
    elif isinstance(agent, Effect):
        functions = [agent.result] if agent.result else []
    else:
        return set()
    allowed = {kind for kind in agent.target.commands.values() if agent.target.domain in kind.services}
    return allowed & {kind for function in functions for kind in _given(function) or allowed}


def _given(function: Any) -> set[type[Command]]:
    try:
        answer = get_type_hints(function).get("return")
    except (NameError, TypeError):  # nobody has to annotate what tests or notebooks declare
        return set()
    return _commands_in(answer)


def _commands_in(annotation: Any) -> set[type[Command]]:
    if isinstance(annotation, type) and issubclass(annotation, Command) and annotation is not Command:
        return {annotation}
    return {kind for part in get_args(annotation) for kind in _commands_in(part)}


def _hears(agent: Agent, event: type[Event] | None) -> bool:
    if isinstance(agent, Policy | Effect):
        return event in agent.on
    if isinstance(agent, Projection) and agent.per == "partition":
        return False  # it asks no contract what a record says
    return event is not None


def _reader(agent: Agent) -> Party:
    """A decider reads its own events when its state and views are rebuilt."""
    return {**_party(agent), "kind": "rebuild"} if isinstance(agent, Decider) else _party(agent)


def _party(agent: Agent) -> Party:
    kinds = {Decider: "decider", Policy: "policy", Projection: "projection", Effect: "effect", Changelog: "changelog"}
    return {"kind": kinds[type(agent)], "domain": agent.target.domain, "name": agent.name}


def named(party: Party) -> str:
    """A party in words: `policy vouchers of points`."""
    match party["kind"]:
        case "edge":
            return (
                "edge: "
                + ", ".join(party["roles"])
                + (f", {party['owner']} being the caller" if party["owner"] else "")
            )
        case "rebuild":
            return f"every rebuild of {party['domain']}"
        case "timer":
            return f"timers of {party['domain']}"
        case "decider":
            return f"decider of {party['domain']}"
        case "changelog":
            return f"changelog of {party['domain']}"
        case kind:
            return f"{kind} {party['name']} of {party['domain']}"
