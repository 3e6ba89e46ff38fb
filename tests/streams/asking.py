"""What operators do, in tests: they write a request, and its owner hears of it."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from streams.agent import Decider
from streams.ids import uuid7
from streams.memory.store import Asked
from streams.store import Request
from tests.streams.rig import Owner, Rig
from tests.streams.tally import Added, decider
from tests.streams.tally import decide as tally_decide

BY = "user:operator"


def mended() -> Decider:
    """The tally's decider with a rule that likes everything."""

    def decide(state: Any, command: Any, case: Any) -> Any:
        if command.how in ("raise", "nul"):
            return [Added(account=command.account, amount=command.amount)]
        return tally_decide(state, command, case)

    return replace(decider(), decide=decide)


def mend(owner: Owner) -> None:
    """The process runs mended rules from now on."""
    owner.handler.decider = replace(owner.handler.decider, decide=mended().decide)  # type: ignore[attr-defined]


async def ask(
    rig: Rig, owner: Owner, action: Any, offset: int, value: bytes | None = None, request_id: UUID | None = None
) -> Asked:
    """Ask, and wait until it is done; the row of the request."""
    row = await put(rig, owner, action, offset, value, request_id)
    await rig.quiet()
    return row


async def put(
    rig: Rig, owner: Owner, action: Any, offset: int, value: bytes | None = None, request_id: UUID | None = None
) -> Asked:
    """Ask, and tell the owner; the row of the request."""
    slot = owner.partition.slot
    request = Request(request_id or uuid4(), offset, action, value, BY)
    await rig.memory.ask(slot, request)
    owner.handler.asked()
    owner.partition.wake()
    row: Asked = rig.memory.schemas[slot.domain].requests[slot, request.id]
    return row


def told(row: Asked) -> tuple[str, str]:
    """Status and outcome of a request."""
    return row.status, row.outcome or ""


def new_id(rig: Rig) -> UUID:
    """The id that an edge would make now."""
    return uuid7(int(rig.clock.now().timestamp() * 1000))
