"""Shipped domains with planted edits: their real source with a change here and there, made into modules that nothing else sees."""

import importlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
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
    """A file of the code base as a module of another name, or a package of it; raises what its import raises."""
    if (package := ROOT / path.removesuffix(".py")).is_dir():
        return _package(package, edits)
    made = ModuleType("planted_" + path.removesuffix(".py").replace("/", "_"))
    sys.modules[made.__name__] = made
    try:
        exec(compile(planted((ROOT / path).read_text("utf-8"), edits), path, "exec"), made.__dict__)
    finally:
        del sys.modules[made.__name__]
    return made


WORDS = "from typing import Annotated, Self\nfrom pydantic import Field, model_validator\nfrom streams.contract import Text\n"
"""What edits may use."""


class _Edited(MetaPathFinder, InspectLoader):
    """Reads a package's files anew, each edit made in the one where its text stands."""

    def __init__(self, folder: Path, edits: Sequence[Edit]) -> None:
        self.name = folder.relative_to(ROOT).as_posix().replace("/", ".")
        self._texts = {f"{self.name}.{f.stem}": WORDS + f.read_text("utf-8") for f in folder.glob("[!_]*.py")}
        for old, new in edits:
            whole = "".join(self._texts.values())
            assert whole.count(old) == 1, f"{old!r} stands there {whole.count(old)} times"
            self._texts = {name: text.replace(old, new) for name, text in self._texts.items()}
        self._texts[self.name] = ""  # it only says again what stands in the others

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname not in self._texts:
            return None
        return spec_from_loader(fullname, self, origin=fullname, is_package=fullname == self.name)

    def get_source(self, fullname: str) -> str:
        return self._texts[fullname]

    def is_package(self, fullname: str) -> bool:
        return fullname == self.name


def _package(folder: Path, edits: Sequence[Edit]) -> ModuleType:
    finder = _Edited(folder, edits)
    of_it = [name for name in sys.modules if f"{name}.".startswith(f"{finder.name}.")]
    kept = {name: sys.modules.pop(name) for name in of_it}
    sys.meta_path.insert(0, finder)
    made = ModuleType(f"planted_{folder.name}")
    try:
        for file in sorted(folder.glob("[!_]*.py")):
            vars(made).update(vars(importlib.import_module(f"{finder.name}.{file.stem}")))
        return made
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{finder.name}.")]:
            del sys.modules[name]
        sys.modules.update(kept)
        if finder.name in kept:
            setattr(sys.modules[finder.name.rpartition(".")[0]], folder.name, kept[finder.name])


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
