"""What governance is about: subjects, users, the program, and the words that are common to its concerns."""

from typing import Annotated, Literal

from pydantic import Field

from streams.contract import Topic

GOVERNANCE = Topic("governance", key="user_id")

Subject = Annotated[
    str, Field(strict=True, max_length=180, pattern=r"^[a-z][a-z0-9_]{0,49}:[A-Za-z0-9][A-Za-z0-9._:@-]*$")
]
"""Something that a domain has, as `<domain>:<id>`: what is moderated, reported and decided on."""

Revision = Annotated[int, Field(strict=True, ge=1, le=2**31 - 1)]
"""Which revision of a subject; the first one is 1."""

Program = Literal["main"]

PROGRAM: Program = "main"
"""The key of what concerns everybody: word and link lists, the list of admins."""
