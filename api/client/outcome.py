"""What became of a command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from api.client.errors import Refused

Status = Literal["pending", "accepted", "rejected", "parked"]


class EventRef(NamedTuple):
    """An event that a command left: its id and its type."""

    event_id: str
    type: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is known of a command that Kafka has.

    `pending`: not decided yet, or a part of a longer affair whose end is open; `accepted`; `rejected`, with the rule's `code` and `details`;
    `parked`: an operator has to look at it, `code` is the cause. `token` is what reads are to cover.
    """

    command_id: str
    domain: str
    status: Status
    code: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[EventRef, ...] = ()
    token: str = ""
    status_url: str = ""
    http: int = 0
    """The status that a refusal had; 0 where it was asked for later."""

    @property
    def accepted(self) -> bool:
        """Whether it was."""
        return self.status == "accepted"

    @property
    def final(self) -> bool:
        """Whether waiting longer is of no use."""
        return self.status != "pending"

    def expect(self) -> Self:
        """Itself if it was accepted; else raises Refused with its code, `pending` where there is no result yet."""
        if self.accepted:
            return self
        words = {
            "pending": "there is no result yet",
            "parked": f"it is parked ({self.code}); an operator has to look at it",
            "rejected": "the command was refused" + (f" {dict(self.details)}" if self.details else ""),
        }[self.status]
        code = (self.code if self.status == "rejected" else None) or self.status
        raise Refused(code, self.http, words, {"command_id": self.command_id, "details": self.details})

    def later(self, told: Mapping[str, Any], http: int = 0) -> "Outcome":
        """What it is by a later answer."""
        return outcome({"token": self.token, "status_url": self.status_url} | _known(told), self.domain, http)


def outcome(told: Mapping[str, Any], domain: str, http: int = 0) -> Outcome:
    """From an answer's body: a receipt, a result, or the refusal as a problem (whose `status` is a number)."""
    status = told.get("status", "pending")
    return Outcome(
        command_id=told["command_id"],
        domain=domain,
        status="rejected" if isinstance(status, int) else status,
        code=told.get("code"),
        details=told.get("details") or {},
        events=tuple(EventRef(event["event_id"], event["type"]) for event in told.get("events", ())),
        token=told.get("token") or "",
        status_url=told.get("status_url") or "",
        http=http,
    )


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}
