"""Every route that the contracts give, each with a caller and a request that is accepted."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from api.views import Signature
from streams.contract import Command
from tests.api.conftest import ALL


class Accepted(NamedTuple):
    """A command with somebody who may issue it and a body that is accepted."""

    contract: type[Command]
    path: str
    who: str | None
    body: Mapping[str, Any]


class Read(NamedTuple):
    """A view with somebody who may read it and a path."""

    signature: Signature
    domain: str
    path: str
    who: str | None


def _somebody(role: str, user: str) -> str | None:
    return None if role == "Guest" else f"{user}/{role}"


def owner_of(contract: type[Command], body: Mapping[str, Any]) -> str | None:
    """Who has to issue it, if it must be somebody: the owner, or who stands at the till."""
    if "staff_id" in contract.model_fields:
        return str(body.get("staff_id") or body["partner_id"])
    return str(body[contract.owner]) if contract.owner else None


def _accepted(contract: type[Command]) -> Accepted:
    body = contract.examples[0]
    user = owner_of(contract, body) or "somebody"
    path = f"/v1/{contract.topic.domain}/{contract.wire_name}"
    return Accepted(contract, path, _somebody(contract.roles[0], user), body)


def _read(domain: str, signature: Signature) -> Read:
    values = {n: "1" if f.annotation is int else "u1" for n, f in signature.model.model_fields.items()}
    path = "/".join((f"/v1/{domain}/{signature.name}", *(values[n] for n in signature.segments)))
    return Read(
        signature, domain, path, _somebody(signature.readers.roles[0], values.get(signature.readers.owner or "", "x"))
    )


COMMANDS = [_accepted(c) for domain in ALL for c in domain.topic.commands.values() if c.roles]
VIEWS = [
    _read(domain.topic.domain, signature)
    for domain in ALL
    for signature in (Signature(name, function) for name, function in domain.views.items())
    if signature.readers.roles and signature.name not in {"slow", "broken", "writes"}
]
