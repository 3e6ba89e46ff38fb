"""The example of a moderated domain within this process, for as long as a test wants it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import agents
import topics
from streams.agent import agents_of
from tests.caravan.conftest import ROOT

STORIES = ROOT / "examples" / "stories"


@contextmanager
def stories() -> Iterator[ModuleType]:
    """The contract of stories, which is found like any domain's as long as this lasts; governance has been found without it."""
    agents_of("governance")
    packages = (topics, agents)
    for package in packages:
        package.__path__.append(str(STORIES / package.__name__))
    try:
        yield import_module("topics.stories")
    finally:
        for package in packages:
            package.__path__.remove(str(STORIES / package.__name__))
            vars(package).pop("stories", None)
        for name in [name for name in sys.modules if name.startswith(("topics.stories", "agents.stories"))]:
            del sys.modules[name]
