"""Discovery: a domain is found by its files alone, and one that is declared wrongly is told in words."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from streams import discover
from streams.agent import Decider, Policy, agents_of
from streams.contract import Topic
from streams.errors import ContractError
from tests.streams.tally import ECHO, TALLY, decider

OTHER = Topic("other", key="id")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give stages of a domain `tally` as modules."""

    def give(**stages: dict[str, Any]) -> None:
        def stage(domain: str, name: str) -> ModuleType | None:
            if domain != "tally" or name not in stages:
                return None
            module = ModuleType(f"agents.tally.{name}")
            vars(module).update(stages[name])
            return module

        monkeypatch.setattr(discover, "stage", stage)

    return give


def test_the_platforms_own_domains_are_found_whole() -> None:
    assert "points" in discover.domains()
    for domain in discover.domains():
        assert discover.topic(domain).domain == domain
        if not agents_of(domain):
            continue  # a contract that stands in for a domain to come
        assert any(isinstance(agent, Decider) for agent in agents_of(domain))
        names = [name for name, _ in discover.migrations(domain)]
        assert names == sorted(names)
        assert names
        assert discover.views(domain)


def test_a_contract_without_agents_is_a_domain_too() -> None:
    assert agents_of("nowhere") == []
    assert discover.views("nowhere") == {}
    assert discover.migrations("nowhere") == []
    assert discover.routes("nowhere") is None


def test_a_contract_file_declares_one_topic_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in {"none": {}, "two": {"A": TALLY}}.items():
        module = ModuleType(f"topics.{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, f"topics.{name}", module)
        with pytest.raises(ContractError, match=rf"topics/{name}.py must declare one Topic"):
            discover.topic(name)


def test_agents_are_found_in_order(modules: Any) -> None:
    agent = decider()
    modules(agent={"B": ECHO, "A": agent, "other": 7})
    assert agents_of("tally") == [ECHO, agent]


def test_two_agents_of_one_name_are_refused(modules: Any) -> None:
    modules(agent={"A": ECHO, "B": Policy("echo", TALLY, TALLY, {})})
    with pytest.raises(ContractError, match="two agents share a name"):
        agents_of("tally")


def test_a_table_has_one_writer(modules: Any) -> None:
    one, two = decider(), decider()
    for second in (replace(two, table=one.table), replace(two, topic=OTHER, table=one.table), two):
        modules(agent={"A": one, "B": second})
        with pytest.raises(ContractError, match=r"two agents share a name|has one (decider|agent)"):
            agents_of("tally")


def test_a_policy_speaks_for_its_own_domain(modules: Any) -> None:
    modules(agent={"A": Policy("echo", TALLY, OTHER, {})})
    with pytest.raises(ContractError, match="policy echo must be of tally"):
        agents_of("tally")


def test_a_view_that_does_not_say_its_readers_is_refused(modules: Any) -> None:
    async def everything(db: Any) -> None: ...

    everything.__module__ = "agents.tally.view"
    modules(view={"everything": everything})
    with pytest.raises(ContractError, match="everything does not say who may read it"):
        discover.views("tally")
