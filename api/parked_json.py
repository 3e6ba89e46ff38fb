"""Parked records and requests as JSON, for the routes and for the command line alike."""

from base64 import b64encode
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sinks.postgres.parked import FOLLOWER, Line, Record, Request
from streams.envelope import Actor
from streams.inspection import decoded

_NEVER = "It was never accepted, and holds nothing back."
_BEHIND = "What waits behind it follows in its order."
_OR = f"or edit what the record says; or skip it. {_BEHIND}"
ADVICE = {
    "rule_failed": f"The domain's code raised: mend it, restart the workers and redrive the record; {_OR}",
    "refused_by_store": f"Postgres refuses the rows that it leads to: mend the schema or the code and redrive it; {_OR}",
    "too_large": f"Its events do not fit into one record batch: mend the rule and redrive it; {_OR}",
    "too_many_hops": f"Policies go round in a loop: mend the one that closes it and redrive the record; {_OR}",
    "effect_failed": f"The outside refused the call for good: see to it there and redrive the record; {_OR}",
    "effect_unknown": f"Nobody knows whether the call was done. Look outside: if it was not, redrive the record; if it was, skip it. {_BEHIND}",
    "unsigned": f"{_NEVER} Nobody of this platform wrote it: skip it, and see who may write to the topic.",
    "undecodable": f"{_NEVER} Edit it, where it is an envelope of ours, or redrive it once code that reads it runs; or skip it.",
    "unknown_type": f"{_NEVER} Redrive it once code that knows the type runs; or skip it.",
    "unknown_version": f"{_NEVER} Redrive it once code that reads the version runs; or skip it.",
    "upcast_failed": "The upcaster of its contract raised: mend it, restart the workers and redrive the record; or edit it; or skip it. It holds nothing back.",
    "wrong_key": f"{_NEVER} It stands where another key belongs: skip it, and have it sent again.",
    "stale_id": f"{_NEVER} Its id is too old to be told from a repeat: skip it, and have it sent again.",
}


def line_json(domain: str, line: Line) -> dict[str, Any]:
    """A record in a list."""
    return {
        "domain": domain,
        "agent": line.place.agent,
        "topic": line.place.topic,
        "partition": line.place.partition,
        "offset": line.place.offset,
        "place": str(line.place),
        "key": text(line.key),
        "cause": line.cause,
        "type": line.type,
        "command_id": line.command_id and str(line.command_id),
        "actor": line.actor,
        "attempts": line.attempts,
        "holds": line.holds,
        "waiting": line.behind,
        "parked_at": moment(line.parked_at),
        "tried_at": moment(line.tried_at),
    }


def record_json(domain: str, record: Record, history: list[Request]) -> dict[str, Any]:
    """A record, whole: its bytes, what they say with personal fields masked, why it is parked, what was done about it, and what to do next."""
    told = decoded(record.line.place.topic, record.value)
    return {
        **line_json(domain, record.line),
        "error": record.error,
        "next": advice(record),
        "behind": record.front and str(record.front),
        "envelope": told and {**asdict(told), "at": moment(told.at), "actor": _actor(told.actor)},
        "key_base64": base64(record.line.key),
        "value_base64": base64(record.value),
        "headers": [
            {"name": name, "value": text(value), "value_base64": base64(value)} for name, value in record.headers
        ],
        "history": [request_json(domain, one) for one in history],
    }


def request_json(domain: str, request: Request) -> dict[str, Any]:
    """What was asked for a record, and what became of it."""
    return {
        "request_id": str(request.id),
        "status": request.status,
        "outcome": request.outcome,
        "still_parked": request.still_parked,
        "action": request.action,
        "by": request.by,
        "reason": request.reason,
        "domain": domain,
        "agent": request.place.agent,
        "place": str(request.place),
        "asked_at": moment(request.asked_at),
        "done_at": request.done_at and moment(request.done_at),
        "cause": request.cause,
    }


def advice(record: Record) -> str:
    """What to do about a parked record."""
    if record.line.cause == FOLLOWER:
        return f"It only waits behind {record.front or 'an earlier one'} of its key: mend that one, and this one follows in its order."
    return ADVICE.get(record.line.cause, f"Mend what its error tells and redrive it; {_OR}")


def _actor(actor: Actor) -> dict[str, str]:
    return {"type": actor.type, "id": actor.id, "role": actor.role}


def text(raw: bytes | None) -> str | None:
    """The bytes as text, where they are; what is no UTF-8 is spelled out."""
    return None if raw is None else raw.decode("utf-8", "backslashreplace")


def base64(raw: bytes | None) -> str | None:
    """The bytes as they are."""
    return None if raw is None else b64encode(raw).decode()


def moment(at: datetime) -> str:
    """RFC 3339, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
