"""Discovery by file name: adding a domain edits no existing line.

Packages are named by string: the core imports no domain, it only finds them.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from streams.contract import Topic
from streams.errors import ContractError
from streams.sink import Rows
from streams.view import Standings


def domains() -> list[str]:
    """Names of all domains: those with a contract."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module("topics").__path__))


def topic(domain: str) -> Topic:
    """The contract of a domain, with all its commands and events registered; raises ContractError."""
    module = importlib.import_module(f"topics.{domain}")
    found = [value for value in vars(module).values() if isinstance(value, Topic) and value.domain == domain]
    if len(found) != 1:
        raise ContractError(f"topics/{domain}.py must declare one Topic({domain!r}, ...).")
    return found[0]


def views(domain: str) -> dict[str, Callable[..., Any]]:
    """The view functions of a domain by name; raises ContractError for a public one whose readers are not declared."""
    own = {
        name: value
        for module in modules(domain, "view")
        for name, value in sorted(vars(module).items())
        if inspect.iscoroutinefunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if not hasattr(value, "__standing__")
    }
    for name, function in own.items():
        if not hasattr(function, "__readers__"):
            raise ContractError(f"agents/{domain}/view.py: {name} does not say who may read it; put @view(...) on it.")
    return own


def standing(domain: str) -> Standings | None:
    """What tells the edge from whom something is kept, None where the domain keeps nothing from anybody."""
    found = (value for module in modules(domain, "view") for value in vars(module).values())
    return next((value for value in found if hasattr(value, "__standing__")), None)


def checks(domain: str) -> dict[str, Callable[..., Any]]:
    """The audit's checks of a domain's own by name: the functions of its `audit.py` that `@check` declares."""
    found = (pair for module in modules(domain, "audit") for pair in sorted(vars(module).items()))
    return {name: value for name, value in found if inspect.iscoroutinefunction(value) and hasattr(value, "__mend__")}


def rows(domain: str) -> list[Rows]:
    """The tables that the rows of a domain's `sink.py` go to."""
    kinds = (getattr(value, "__rows__", None) for module in modules(domain, "sink") for value in vars(module).values())
    return list(dict.fromkeys(kind for kind in kinds if isinstance(kind, Rows)))


def routes(domain: str) -> ModuleType | None:
    """The domain's own `api.py`, where HTTP needs more than the generated routes."""
    return stage(domain, "api")


def migrations(domain: str) -> list[tuple[str, str]]:
    """(name, SQL) of the domain's numbered migrations, in order."""
    if find_spec(f"agents.{domain}") is None:
        return []
    folder = files(f"agents.{domain}") / "schema"
    if not folder.is_dir():
        return []
    scripts = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(script.name.removesuffix(".sql"), script.read_text("utf-8")) for script in scripts]


def stage(domain: str, name: str) -> ModuleType | None:
    """A stage of a domain (`agent`, `view`, `api`, `audit`) as a module, None where the domain has none."""
    name = f"agents.{domain}.{name}"
    if find_spec(f"agents.{domain}") is None or find_spec(name) is None:
        return None
    return importlib.import_module(name)


def modules(domain: str, name: str) -> list[ModuleType]:
    """A stage as its modules: the file, or the package that it grew into with each module in it; none where the domain has none."""
    found = stage(domain, name)
    if found is None:
        return []
    inside = sorted(module.name for module in pkgutil.iter_modules(getattr(found, "__path__", ())))
    return [found, *(importlib.import_module(f"{found.__name__}.{part}") for part in inside)]
