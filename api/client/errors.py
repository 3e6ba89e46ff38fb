"""What a client of the edge raises."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class FieldError(NamedTuple):
    """What is wrong with one field: its path, a stable code, and words."""

    field: str
    code: str
    message: str


class EdgeError(Exception):
    """The edge said no, or something failed; `code` is stable, and the one to decide by.

    `status` is that of HTTP, 0 where there was no answer; `detail` says it in words; `errors` tells each wrong field of a
    request that is `invalid`; `told` is the whole problem+json.
    """

    def __init__(self, code: str, status: int, detail: str, told: Mapping[str, Any] | None = None) -> None:
        """Usually made by `of`."""
        super().__init__(f"{code}: {detail}")
        self.code, self.status, self.detail = code, status, detail
        self.told = dict(told or {})
        self.errors = tuple(_field(one) for one in self.told.get("errors", ()))

    def __str__(self) -> str:
        """In one line."""
        return "; ".join([str(self.args[0]), *(f"{one.field}: {one.message}" for one in self.errors)])

    @classmethod
    def of(cls, status: int, told: Mapping[str, Any]) -> "EdgeError":
        """From an answer; `told` is empty where it was not JSON."""
        code = str(told.get("code") or f"http_{status}")
        return cls(code, status, str(told.get("detail") or told.get("title") or f"status {status}"), told)


class Unreachable(EdgeError):
    """The edge did not answer for as long as we may wait. What was sent may have been taken: repeat it under the same key."""

    def __init__(self, words: str) -> None:
        """`words` say where and for how long."""
        super().__init__("unreachable", 0, words)


class Refused(EdgeError):
    """A command that had to be accepted was not: raised by `Outcome.expect` only."""


def _field(told: Any) -> FieldError:
    return FieldError(str(told.get("field", "")), str(told.get("code", "")), str(told.get("message", "")))
