"""Commands: from a request to a signed record in Kafka, and not a 202 before."""

import os
import re
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api import body as bodies
from api.answer import given
from api.auth import refused
from api.edge import Edge, Receipt, status_url
from api.errors import RETRY, Problem, invalid, invalid_fields, path
from api.idempotency import Reservation, digest, key_of
from api.personal import sealed
from api.results import accepted, follow, patience
from api.tokens import principal
from streams.contract import Command, permits
from streams.envelope import Actor
from streams.ids import uuid7
from streams.log import NotSent, SendUnknown
from streams.personal import blind_fields
from streams.producer import command_record, signed

MAX_KEY = 512  # bytes of a record's key
_RETIRED = "It was retired: nothing was sent. One that was taken before is finished; its status_url tells how."
_TRACE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Issue:
    """The endpoint of one command."""

    def __init__(self, edge: Edge, contract: type[Command]) -> None:
        """Serve `contract`."""
        self._edge, self._contract = edge, contract
        self._domain = contract.topic.domain
        self._topic = contract.topic.commands_topic

    async def __call__(self, request: Request) -> Response:
        """Check, publish, answer 202; with `Prefer: wait` the result, if it comes in time."""
        raw = await bodies.read(request)
        if self._contract.retired:
            raise Problem("retired", _RETIRED)
        parsed = bodies.parse(raw)
        actor = self._edge.auth.actor(request)
        if not self._contract.despite_sanctions:
            self._edge.standings.demand(actor, self._domain)
        command = self._checked(actor, parsed, raw)
        self._edge.health.demand_postgres()
        receipt = await self._taken(request, command, actor)
        if seconds := patience(request):
            return await follow(self._edge, request, receipt, seconds)
        return accepted(self._edge, receipt)

    def _checked(self, actor: Actor, parsed: Any, raw: bytes) -> Command:
        """The command, if this actor may issue it; 401 before 403 before 422."""
        contract = self._contract
        if not permits(contract.roles, actor.role) or self._foreign(actor, parsed):
            raise refused(actor)
        if b"\\u0000" in raw and (where := bodies.nul(parsed)) is not None:
            raise invalid([(path(where), "nul", "NUL characters cannot be stored")])
        if isinstance(parsed, dict) and (given := blind_fields(contract).keys() & parsed):
            raise invalid([(name, "extra_forbidden", "Extra inputs are not permitted") for name in sorted(given)])
        try:
            command = contract.model_validate_json(raw, strict=True)
        except ValidationError as error:
            raise invalid_fields(error) from None
        if not command.may_be_issued_by(actor):
            raise refused(actor)
        if "/" in command.key or not 0 < len(command.key.encode()) <= MAX_KEY:
            raise invalid([(contract.key_field, "key", f"must be 1 to {MAX_KEY} bytes long and without a slash")])
        return command

    def _foreign(self, actor: Actor, parsed: Any) -> bool:
        """Whether the body names another owner, told before anything else about the body is."""
        owner = self._contract.owner
        if owner is None or actor.role == "Admin" or not isinstance(parsed, dict):
            return False
        named = parsed.get(owner)
        return isinstance(named, str) and named != actor.id

    async def _taken(self, request: Request, command: Command, actor: Actor) -> Receipt:
        """Publish it, once per Idempotency-Key."""
        edge = self._edge
        now = edge.clock.now()
        command_id = uuid7(int(now.timestamp() * 1000))
        key = key_of(request)
        body = digest(command.wire_name, command.to_json()) if key is not None else ""
        command = await sealed(edge.store, await edge.blinder.filled(command))
        record = command_record(command, command_id=command_id, issued_at=now, actor=actor)
        trace = _trace(request)
        if key is None:
            place = await self._publish(command_id, *record, trace, None)
            return edge.receipt(self._domain, command_id, actor, place)
        who = (principal(actor), self._domain, key)
        held = await Reservation.take(edge.store, who, body, command_id, record)
        claim, kept = held.claim, held.place
        if kept is None:
            assert claim.record is not None
            kept = await self._publish(claim.command_id, claim.record_key, claim.record, trace, held)
        return edge.receipt(self._domain, claim.command_id, actor, kept)

    async def _publish(
        self, command_id: UUID, key: bytes, value: bytes, trace: str, held: Reservation | None
    ) -> tuple[int, int]:
        """Where Kafka has the record; raises `kafka_unavailable` or, when nobody knows, `outcome_unknown`."""
        edge = self._edge
        try:
            headers = signed(self._topic, key, value, edge.signer, trace)
            place = await edge.log.publish(self._topic, key, value, headers)
        except NotSent:
            if held is not None:
                await held.failed(sent=False)
            raise Problem("kafka_unavailable", headers=RETRY) from None
        except SendUnknown:
            if held is not None:
                await held.failed(sent=None)
            raise self._unknown(command_id, held) from None
        return place if held is None else await held.answered(place)

    def _unknown(self, command_id: UUID, held: Reservation | None) -> Problem:
        advice = (
            "Send it again with the same Idempotency-Key: it has its effect once."
            if held is not None
            else "Ask status_url before you send it again; with an Idempotency-Key you could simply repeat it."
        )
        return Problem(
            "outcome_unknown",
            f"Kafka did not answer; the command may have been sent. {advice}",
            headers=RETRY,
            command_id=str(command_id),
            status_url=status_url(self._domain, command_id),
        )


def _trace(request: Request) -> str:
    """The caller's traceparent, or a new one."""
    told = given(request).get(b"traceparent", b"").decode("latin-1")
    return told if _TRACE.fullmatch(told) else f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
