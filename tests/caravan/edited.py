"""Shipped domains with planted edits: their real source with a change here and there, made into modules that nothing else sees."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from caravan.contracts.catalogue import discovered
from caravan.contracts.documents import CONTRACTS, Documents, documents, write
from caravan.contracts.flow import Domain
from streams.contract import Topic
from tests.caravan.conftest import ROOT

Edit = tuple[str, str]
"""What stands there once, and what shall."""


def planted(text: str, edits: Sequence[Edit]) -> str:
    """The text with each edit made."""
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def module(path: str, edits: Sequence[Edit] = ()) -> ModuleType:
    """A file of the code base as a module of another name; raises what its import raises."""
    made = ModuleType("planted_" + path.removesuffix(".py").replace("/", "_"))
    sys.modules[made.__name__] = made
    try:
        exec(compile(planted((ROOT / path).read_text("utf-8"), edits), path, "exec"), made.__dict__)
    finally:
        del sys.modules[made.__name__]
    return made


def topic_of(made: ModuleType) -> Topic:
    """The contract in a module of `topics`."""
    (found,) = [value for value in vars(made).values() if isinstance(value, Topic)]
    return found


def views_of(made: ModuleType) -> dict[str, Any]:
    """The views in a module of a domain."""
    return {name: value for name, value in vars(made).items() if hasattr(value, "__readers__")}


class Shipped:
    """The domains as they are, and one of them edited."""

    def __init__(self) -> None:
        """Make all documents once."""
        self.domains = {domain.topic.domain: domain for domain in discovered()}
        self.documents = documents(list(self.domains.values()))

    def before(self, name: str, edits: Sequence[Edit] = ()) -> dict[str, Any]:
        """What was exported of one domain; `edits` were made in it before, its agents are as they are."""
        told: Mapping[str, Any] = documents([self.edited(name, edits)]) if edits else self.documents
        kept = told[CONTRACTS]["domains"][name]
        if edits:
            shipped = self.documents[CONTRACTS]["domains"][name]
            for side in ("commands", "events"):
                for kind, message in kept[side].items():
                    message |= {
                        end: shipped[side][kind][end] for end in ("publishers", "listeners") if kind in shipped[side]
                    }
        return {**told, CONTRACTS: {**told[CONTRACTS], "domains": {name: kept}}}

    def edited(self, name: str, edits: Sequence[Edit], views: Sequence[Edit] = ()) -> Domain:
        """The domain with edits in its contract and in its views; raises ContractError. Its agents know nothing of it."""
        domain = replace(self.domains[name], agents=())
        if edits:
            domain = replace(domain, topic=topic_of(module(f"topics/{name}.py", edits)))
        if views:
            domain = replace(domain, views=views_of(module(f"agents/{name}/view.py", views)))
        return domain


def checkout(folder: Path, exported: Documents, edits: Mapping[str, Sequence[Edit]]) -> Path:
    """A copy of the code and an export as `caravan contracts check` needs them, with edits in its files."""
    for package in ("caravan", "api", "agents", "sinks", "topics", "streams"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    write(folder / "docs" / "contracts", exported)
    for path, changes in edits.items():
        file = folder / path
        file.write_text(planted(file.read_text("utf-8"), changes), "utf-8")
    return folder
