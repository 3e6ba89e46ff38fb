"""What a change of the contracts means to those who rely on them: two exports are compared, and each difference is judged.

A change is *compatible*, or compatible *with care* (some reader has to be brought up to date first), or *incompatible*: it breaks records that stay on a topic,
or clients and listeners that are not deployed with this code.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from caravan.contracts import fields, views
from caravan.contracts.catalogue import path_of
from caravan.contracts.differences import Difference, compare
from caravan.contracts.documents import ASYNCAPI, CONTRACTS, OPENAPI, Documents
from caravan.contracts.flow import Domain, named
from caravan.contracts.judged import BROKEN, CARE, FINE, Judged
from streams.contract import ROLES, Message, permits
from streams.errors import CaravanError

Side = Literal["commands", "events"]
LEVELS = (BROKEN, CARE, FINE)
Told = Mapping[str, Any]
_BACK = "put it back as it was; a new domain may have what you want, and import the history of this one"
_BESIDE = "a new field beside it, as you want it; fill both until nobody reads this one"


class Both(NamedTuple):
    """A thing before and now, with the documents that it stands in, and its name for people."""

    where: str
    old: Told
    new: Told
    before: Documents
    now: Documents


def verdicts(before: Documents, now: Documents) -> list[Judged]:
    """Every difference between two exports that anybody may notice, domain by domain."""
    return [*_verdicts(before, now)]


def unread(domains: Sequence[Domain], before: Documents) -> Iterator[Judged]:
    """The examples that were exported, of every version, must be read by the code of now: upcasters and validators are tried, not believed."""
    for domain in domains:
        for side, kinds in (("command", domain.topic.commands), ("event", domain.topic.events)):
            for name, kind in kinds.items():
                for version in range(1, kind.version + 1):
                    schema = before.get(path_of(domain.topic.domain, f"{side}s", name, version), {})
                    yield from _unread(
                        f"{side} {domain.topic.domain}.{name}", kind, version, schema.get("examples", ())
                    )


def _unread(where: str, kind: type[Message], version: int, examples: Sequence[Any]) -> Iterator[Judged]:
    for one in examples:
        try:
            message = kind.read(version, json.dumps(one["payload"]).encode())
        except (ValueError, CaravanError) as error:
            words = " ".join(str(error).split())
        else:
            if message.key == one["aggregate_id"]:
                continue
            words = f"its key is {message.key} and was {one['aggregate_id']}"
        what = f"the exported example of version {version} is no longer read: {words}"
        yield Judged(
            BROKEN,
            where,
            what,
            "records like it are on the topic, and are parked",
            (),
            "mend the upcaster or the validator",
        )


def _verdicts(before: Documents, now: Documents) -> Iterator[Judged]:
    olds, news = before[CONTRACTS]["domains"], now[CONTRACTS]["domains"]
    yield from _platform(before, now)
    for name in sorted({*olds, *news}):
        if name not in news:
            yield gone(name, olds[name], news)
        elif name not in olds:
            yield Judged(FINE, f"domain {name}", "it is new")
        else:
            yield from _domain(Both(f"domain {name}", olds[name], news[name], before, now))


def _platform(before: Documents, now: Documents) -> Iterator[Judged]:
    """What all domains share: the envelopes, and the routes of the platform itself."""
    for kind, rules in (("command", fields.STEP), ("event", fields.EVENT)):
        old, new = (documents[ASYNCAPI]["components"]["schemas"][kind] for documents in (before, now))
        found = compare(old, new, {}, {})
        yield from fields.judged(rules, f"envelope of every {kind}", found, ("everybody who reads a topic",))
    for path, item in before[OPENAPI]["paths"].items():
        if path not in now[OPENAPI]["paths"] and any("platform" in told["tags"] for told in item.values()):
            yield Judged(BROKEN, f"route {path}", "it is gone", "its clients get 404", ("clients",), "keep it")


def gone(name: str, old: Told, news: Told, *, imported: bool = False) -> Judged:
    """The verdict on a domain whose contract is there no longer; `imported` says that code of another domain still wants it."""
    where = f"domain {name}"
    abroad = {named(p) for event in old["events"].values() for p in event["listeners"] if p["domain"] != name}
    who = tuple(sorted(abroad))
    like = [other for other, told in news.items() if {*old["events"]} <= {*told["events"]} and other != name]
    looks = f"; it looks renamed to {like[0]}, whose topics are others" if like else ""
    if not old["retired"]:
        why = "nobody can read its events any more, and its clients get 404"
        way = f"retire it first: Topic({name!r}, ..., retired=True), and export; under another name it is a new domain that imports the history of this one"
        return Judged(BROKEN, where, f"its contract is gone{looks}", why, who, way)
    if imported:
        way = "take it out of these first, or keep the contract: a retired domain costs nothing"
        return Judged(BROKEN, where, f"its contract is gone{looks}", "who listens cannot read it any more", who, way)
    why = "its events can be read as plain JSON only, also by those who listened"
    return Judged(CARE, where, f"its contract is gone; it was retired{looks}", why, who, "archive its topics")


def _domain(both: Both) -> Iterator[Judged]:
    where, old, new = both[:3]
    name = where.split()[-1]
    everybody = _everybody(old)
    if old["partitions"] != new["partitions"]:
        what, why = (
            f"{new['partitions']} partitions instead of {old['partitions']}",
            "keys would change places and lose their order",
        )
        yield Judged(BROKEN, where, what, why, everybody, _BACK)
    if old["changelog"] and not new["changelog"]:
        yield Judged(BROKEN, where, "it has no changelog any more", "readers of the changelog stand still", (), _BACK)
    if new["changelog"] and not old["changelog"]:
        yield Judged(FINE, where, "it has a changelog")
    yield from _kept(both, everybody)
    if old["retired"] != new["retired"]:
        yield _retired(where, new["retired"])
    for side in ("commands", "events"):
        yield from _messages(name, side, both)
    yield from views.verdicts(name, old["views"], new["views"], both.before[OPENAPI], both.now[OPENAPI])


def _retired(where: str, retired: bool) -> Judged:
    if not retired:
        return Judged(FINE, where, "it is no longer retired")
    return Judged(
        CARE, where, "it is retired", "its clients get 410 (retired) from now on", (), "tell them what to use instead"
    )


def _kept(both: Both, who: tuple[str, ...]) -> Iterator[Judged]:
    """The settings of topics: how long records are kept, above all."""
    for topic, config in both.old["topics"].items():
        told = both.new["topics"].get(topic, config)
        for setting in sorted({*config, *told}):
            if config.get(setting) != told.get(setting):
                loses = setting.startswith(("retention.", "cleanup."))
                what = f"{setting} {told.get(setting)} instead of {config.get(setting)}"
                why = (
                    "Kafka may delete records that are to be read for ever"
                    if loses
                    else "the topics that there are keep what they have"
                )
                way = "put it back" if loses else "set it on the broker; caravan topics says how"
                yield Judged(BROKEN if loses else CARE, topic, what, why, who if loses else (), way)


def _messages(domain: str, side: Side, both: Both) -> Iterator[Judged]:
    olds, news = both.old[side], both.new[side]
    for name in sorted({*olds, *news}):
        where = f"{side[:-1]} {domain}.{name}"
        if name not in news:
            yield _removed(where, side, olds[name], _elsewhere(name, olds[name], side, both))
        elif name not in olds:
            yield Judged(FINE, where, "it is new")
        else:
            yield from _message(side, Both(where, olds[name], news[name], both.before, both.now))


def _elsewhere(name: str, old: Told, side: Side, both: Both) -> str:
    """Where a message that is gone seems to be now: in another domain under its name, or here under another."""
    for domain, told in both.now[CONTRACTS]["domains"].items():
        if told is not both.new and name in told[side]:
            return f"; it looks moved to {domain}, whose topic is another"
    was = _payload(both.before, old)
    for other, told in both.new[side].items():
        if other not in both.old[side] and _payload(both.now, told) == was:
            return f"; it looks renamed to {other}"
    return ""


def _removed(where: str, side: Side, old: Told, looks: str) -> Judged:
    if side == "commands" and old["retired"]:
        return Judged(FINE, where, "it is gone; it was retired")
    if side == "commands":
        way = "say retired=True first and export; delete it when nothing of it waits or is parked any more"
        return Judged(
            BROKEN,
            where,
            f"it is gone{looks}",
            "its senders get 404, and its records that wait are parked",
            _ends(old),
            way,
        )
    way = "keep its class, and write it no longer: its records are read for ever. A new name is a new event beside it"
    return Judged(
        BROKEN, where, f"it is gone{looks}", "its records on the topic are parked as of unknown type", _ends(old), way
    )


def _message(side: Side, both: Both) -> Iterator[Judged]:
    where, old, new = both[:3]
    if old["key"] != new["key"]:
        why = "records of one key would stand in two places and out of order"
        way = (
            "another message with the key that you want; retire this one"
            if side == "commands"
            else "another event with that key"
        )
        yield Judged(BROKEN, where, f"its key is {new['key']} and was {old['key']}", why, _ends(old), way)
    if new["version"] < old["version"]:
        why = f"records of version {old['version']} are on the topic, and are parked as of an unknown version"
        yield Judged(
            BROKEN,
            where,
            f"version {new['version']} instead of {old['version']}",
            why,
            _ends(old),
            "versions only go up",
        )
    yield from _personal(both)
    if side == "commands":
        yield from _issued(both)
    yield from _fields(side, both)


def _personal(both: Both) -> Iterator[Judged]:
    where, old, new = both[:3]
    for name in sorted({*old["personal"]} & _names(both.now, new) - {*new["personal"]}):
        why = "it would stand on the topic in the clear for ever, and what is there stays sealed"
        yield Judged(BROKEN, where, f"field {name}: no longer personal", why, _ends(old), _BESIDE)
    for name in sorted({*new["personal"]} & _names(both.before, old) - {*old["personal"]}):
        why = "what is on the topic stays in the clear, and who reads it finds it sealed"
        yield Judged(BROKEN, where, f"field {name}: personal now", why, _ends(old), _BESIDE)
    for name in sorted({*old["blind"], *new["blind"]}):
        was, is_ = old["blind"].get(name), new["blind"].get(name)
        if was != is_ and (was or name in _names(both.before, old)):
            what = f"field {name}: hash of {_of(is_)} instead of {_of(was)}"
            yield Judged(BROKEN, where, what, "equal texts have other hashes than before", _ends(old), _BESIDE)


def _of(blind: Told | None) -> str:
    return f"{blind['source']} as {blind['kind']}" if blind else "nothing"


def _issued(both: Both) -> Iterator[Judged]:
    where, old, new = both[:3]
    if old["retired"] != new["retired"]:
        yield _retired(where, new["retired"])
    clients = (f"clients as {', '.join(old['roles'])}",)
    lost = [role for role in ROLES if permits(old["roles"], role) and not permits(new["roles"], role)]
    won = [role for role in ROLES if permits(new["roles"], role) and not permits(old["roles"], role)]
    if lost:
        why = "they are refused (403), and what of theirs waits on the topic is rejected"
        yield Judged(
            BROKEN, where, f"no longer for {', '.join(lost)}", why, clients, "another command; retire this one"
        )
    if won:
        yield Judged(FINE, where, f"also for {', '.join(won)}")
    if old["owner"] != new["owner"]:
        level = FINE if new["owner"] is None else BROKEN
        what = f"its owner is {new['owner'] or 'nobody'} and was {old['owner'] or 'nobody'}"
        why = "" if level == FINE else "callers who are not that owner are refused (403)"
        yield Judged(level, where, what, why, clients if why else (), "another command; retire this one" if why else "")
    if shut := sorted({*old["services"]} - {*new["services"]}):
        why = "what they issue is rejected, also what waits on the topic"
        yield Judged(
            BROKEN,
            where,
            f"no longer for services of {', '.join(shut)}",
            why,
            _senders(old),
            "keep the service until nothing of its kind waits",
        )
    if more := sorted({*new["services"]} - {*old["services"]}):
        yield Judged(FINE, where, f"also for services of {', '.join(more)}")


def _fields(side: Side, both: Both) -> Iterator[Judged]:
    where, old, new = both[:3]
    later = new["version"] > old["version"]
    if later:
        who = _listeners(old) if side == "events" else tuple(named(p) for p in old["listeners"])
        why, way = (
            "older code parks records of the new version until it is replaced",
            "bring these up to date first; redrive what was parked",
        )
        yield Judged(
            CARE, where, f"version {new['version']} instead of {old['version']}, with an upcaster", why, who, way
        )
    if side == "commands" and old["roles"]:
        yield from fields.judged(fields.COMMAND, where, _bodies(both), _senders(old))
        return
    moved = {*old["personal"]} ^ {*new["personal"]}  # said already
    found = [one for one in _records(both) if one.path not in moved]
    rules = fields.EVENT if side == "events" else fields.STEP
    judged = fields.judged(rules, where, found, _listeners(old) if side == "events" else _ends(old))
    yield from (Judged(FINE, where, one.what) for one in judged) if later else judged


def _records(both: Both) -> Sequence[Difference]:
    """The differences of the payloads in records."""
    was, is_ = _schema(both.before, both.old), _schema(both.now, both.new)
    return compare(
        was["properties"]["payload"], is_["properties"]["payload"], was.get("$defs", {}), is_.get("$defs", {})
    )


def _bodies(both: Both) -> Sequence[Difference]:
    """The differences of what the edge takes from clients."""
    domain, name = both.where.split()[-1].split(".")
    was, is_ = (spec[OPENAPI]["paths"].get(f"/v1/{domain}/{name}") for spec in (both.before, both.now))
    if was is None or is_ is None:
        return ()
    old, new = (path["post"]["requestBody"]["content"]["application/json"]["schema"] for path in (was, is_))
    return compare(old, new, *(spec[OPENAPI]["components"]["schemas"] for spec in (both.before, both.now)))


def _schema(documents: Documents, kind: Told) -> Told:
    found: Told = documents[kind["schemas"][str(kind["version"])]]
    return found


def _payload(documents: Documents, kind: Told) -> Any:
    schema = _schema(documents, kind)
    return schema["properties"]["payload"], schema.get("$defs")


def _names(documents: Documents, kind: Told) -> set[str]:
    return {*_schema(documents, kind)["properties"]["payload"].get("properties", ())}


def _listeners(kind: Told) -> tuple[str, ...]:
    return tuple(named(party) for party in kind["listeners"])


def _senders(kind: Told) -> tuple[str, ...]:
    edge = (f"clients as {', '.join(kind['roles'])}",) if kind["roles"] else ()
    return (*edge, *(named(party) for party in kind["publishers"] if party["kind"] != "edge"))


def _ends(kind: Told) -> tuple[str, ...]:
    """Who writes and reads a command, or who reads an event."""
    return (*_senders(kind), *_listeners(kind)) if "roles" in kind else _listeners(kind)


def _everybody(domain: Told) -> tuple[str, ...]:
    return tuple(
        sorted({who for side in ("commands", "events") for kind in domain[side].values() for who in _listeners(kind)})
    )
