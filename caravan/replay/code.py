"""Which code a replay folds with: rows of two codes do not belong into one table."""

from collections.abc import Iterator
from hashlib import blake2b
from importlib.resources import files
from importlib.resources.abc import Traversable

from streams import discover
from streams.agent import agents_of
from streams.folding import foldable

ASKED = {"view.py", "api.py", "audit.py"}  # what reads rows makes none


def mark(domain: str) -> str:
    """A mark of all code of a domain that makes rows and documents, its migrations and the contracts of the events."""
    digest = blake2b(digest_size=6)
    topics = {agent.source.domain for agent in foldable(agents_of(domain))}
    for part in [files(f"agents.{domain}"), *map(_contract, sorted(topics))]:
        for file in _files(part):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _contract(domain: str) -> Traversable:
    """A file, or a package."""
    package = files("topics") / domain
    return package if package.is_dir() else files("topics") / f"{domain}.py"


def _files(part: Traversable) -> Iterator[Traversable]:
    if part.is_file():
        if part.name.endswith((".py", ".sql")) and part.name not in ASKED:
            yield part
    elif part.name != "__pycache__":
        for inner in sorted(part.iterdir(), key=lambda one: one.name):
            yield from _files(inner)


def tables(domain: str) -> dict[str, bool]:
    """The tables of a domain's views, and whether they are only appended to."""
    return {kind.name: not kind.key for kind in discover.rows(domain)}
