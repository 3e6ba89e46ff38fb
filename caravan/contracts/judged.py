"""A judged change, and its three levels."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["compatible", "with care", "incompatible"]
FINE: Level = "compatible"
CARE: Level = "with care"
BROKEN: Level = "incompatible"


@dataclass(frozen=True)
class Judged:
    """`what` changed at `where`; `breaks` says what that does, to whom `who` says, `way` is what to do."""

    level: Level
    where: str
    what: str
    breaks: str = ""
    who: tuple[str, ...] = ()
    way: str = ""
