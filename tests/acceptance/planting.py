"""A decider whose rules have a bug: their text with a change, run beside the right ones, whether they are a module or a package."""

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

from streams.agent import Decider


class Changed(SourceFileLoader):
    """Reads a module with another text than it has; nothing of it is cached."""

    right = wrong = ""

    def get_code(self, fullname: str) -> CodeType:
        """Of the changed text."""
        path = self.get_filename(fullname)
        text = self.get_data(path).decode().replace(self.right, self.wrong)
        code: CodeType = compile(text, f"{path} with a bug", "exec")
        return code


class Finder(MetaPathFinder):
    """Finds the rules of one domain, changed; `found` says whether the right text was there."""

    def __init__(self, name: str, right: str, wrong: str) -> None:
        """`name` is that of their module or package."""
        self.name, self.right, self.wrong, self.found = name, right, wrong, False

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """For modules of these rules."""
        if fullname != self.name and not fullname.startswith(f"{self.name}."):
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        loader = Changed(fullname, spec.origin)
        loader.right, loader.wrong = self.right, self.wrong
        self.found |= self.right in loader.get_data(spec.origin).decode()
        spec.loader = loader
        return spec


@contextmanager
def _anew(name: str) -> Iterator[None]:
    """What is imported of this name inside the block is read anew, and afterwards everything is as it was."""
    kept = {module: sys.modules.pop(module) for module in [*sys.modules] if f"{module}.".startswith(f"{name}.")}
    parent, _, word = name.rpartition(".")
    try:
        yield
    finally:
        for module in [*sys.modules]:
            if f"{module}.".startswith(f"{name}."):
                del sys.modules[module]
        sys.modules.update(kept)
        setattr(sys.modules[parent], word, kept[name])


def planted(agent: Decider, right: str, wrong: str) -> Decider:
    """The decider with this change in the text of its rules."""
    name = f"agents.{agent.topic.domain}.rules"
    finder = Finder(name, right, wrong)
    with _anew(name):
        sys.meta_path.insert(0, finder)
        try:
            changed: Any = importlib.import_module(name)
            modules: dict[str, ModuleType] = dict(sys.modules)
        finally:
            sys.meta_path.remove(finder)
    assert finder.found, f"{right!r} is not in the rules of {agent.topic.domain}"
    types = {word: getattr(modules[kind.__module__], kind.__name__) for word, kind in agent.table.types.items()}
    rules = {
        word: getattr(changed, word, getattr(agent, word))
        for word in ("decide", "evolve", "reads", "timer", "consults")
    }
    return dataclasses.replace(agent, table=dataclasses.replace(agent.table, types=types, shards={}), **rules)
