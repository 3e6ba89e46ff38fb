"""Documents of other rules: led on by upcasts, or not read at all."""

from dataclasses import replace
from typing import Any

import pytest

from streams.decision import ROOT
from streams.errors import ContractError
from streams.table import OtherRules, Table
from tests.streams.asking import ask, told
from tests.streams.rig import Rig
from tests.streams.tally import A, Add, B, Sum, decider


def older(word: str, document: Any) -> Any:
    """Rules 2 called it the total."""
    return {"total": document["amount"], "entries": 0} if word == ROOT else document


def counted(word: str, document: Any) -> Any:
    """Rules 3 count entries from one on."""
    return document | {"entries": document["entries"] + 1} if word == ROOT else document


def table(**more: Any) -> Table:
    return Table("sums", decider().table.types, **more)


def test_a_document_is_led_on_a_version_at_a_time() -> None:
    now = table(version=3, upcasts={1: older, 2: counted})
    assert now.decode(ROOT, '{"amount": 7}', 1) == Sum(7, 1)
    assert now.decode(ROOT, '{"total": 7, "entries": 4}', 2) == Sum(7, 5)
    assert now.decode(ROOT, '{"total": 7, "entries": 4}', 3) == Sum(7, 4)


@pytest.mark.parametrize(
    ("rules", "words"),
    [(1, r"is of rules 1, and these are 3. Give Table\(..., upcasts={1: ...}\)"), (4, "newer code wrote it")],
)
def test_what_nothing_leads_on_is_not_guessed_at(rules: int, words: str) -> None:
    with pytest.raises(OtherRules, match=words) as told:
        table(version=3, upcasts={2: counted}).decode(ROOT, '{"total": 7, "entries": 4}', rules)
    assert "`caravan replay DOMAIN`" in str(told.value)


@pytest.mark.parametrize("strange", [0, 2, 3])
def test_an_upcast_from_nowhere_is_refused(strange: int) -> None:
    with pytest.raises(ContractError, match="an upcast leads from a version below 2 on"):
        table(version=2, upcasts={strange: counted})


async def test_stored_documents_go_on_under_newer_rules(rig: Rig) -> None:
    """What they change is written as theirs; the others stay as they are until then."""
    first = rig.decider()
    for who in (A, B):
        rig.send(Add(account=who, amount=3))
    await rig.quiet()
    await first.leave()
    owner = rig.decider(agent=replace(decider(), table=table(version=2, upcasts={1: counted})))
    rig.send(Add(account=A, amount=4))
    await rig.quiet()
    states = rig.schema.states

    assert rig.parked() == []
    assert owner.handler.decider.table.decode(ROOT, states[A].data) == Sum(7, 3)  # type: ignore[attr-defined]
    assert {key: states[key].rules for key in (A, B)} == {A: 2, B: 1}


async def test_a_document_that_cannot_be_led_on_parks_what_asks_for_it(rig: Rig) -> None:
    """It names the mend; redriven under code that knows the way, the command is run."""
    first = rig.decider()
    rig.send(Add(account=A, amount=3))
    await rig.quiet()
    await first.leave()
    second = rig.decider(agent=replace(decider(), table=table(version=2)))
    rig.send(Add(account=A, amount=4))
    rig.send(Add(account=B, amount=5))
    await rig.quiet()
    (parked,) = rig.parked()
    assert "Give Table(..., upcasts={1: ...}), or build the domain anew" in parked.error
    assert rig.totals() == {A: 3, B: 5}
    await second.leave()
    third = rig.decider(agent=replace(decider(), table=table(version=2, upcasts={1: counted})))
    await rig.quiet()

    assert told(await ask(rig, third, "redrive", parked.offset)) == ("done", "1 record was run.")
    assert rig.totals() == {A: 7, B: 5}
