"""Edits of shipped contracts, each with what it means to those who rely on them."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import pytest

from caravan.contracts.documents import ASYNCAPI, CONTRACTS, OPENAPI, documents
from caravan.contracts.judged import BROKEN, CARE, FINE, Judged, Level
from caravan.contracts.verdicts import gone, unread, verdicts
from streams.errors import ContractError
from tests.caravan.edited import Edit, Shipped

HELD = "class PointsHeld(Event, topic=POINTS):\n    user_id: Name\n    hold_id: Name\n    amount: Points\n"
AWARD = "    user_id: Name\n    amount: Points\n    rule: Name | None = None\n    source: Name | None = None\n    expires_at: Moment | None = None\n\n    @model_validator"
CREDIT = 'class CreditTransfer(Command, topic=POINTS, services=("points",)):\n    """Second step of a transfer, at the recipient."""\n\n    user_id: Name\n    transfer_id: Name\n'
AWARDED = 'class AwardPoints(\n    Command,\n    topic=POINTS,\n    roles=("Admin",),\n    services=("points",),\n'
SPEND = 'class SpendPoints(\n    Command,\n    topic=POINTS,\n    roles=("User",),\n    owner="user_id",\n'
KIND = 'LoginKind = Literal["email", "phone"]'
TOPIC = 'POINTS = Topic("points", key="user_id")'
NEXT = "version=2, upcasts={1: lambda old: {**old, 'amount': str(old['amount'])}}"
PAYMENTS = "policy payments of promotions"
REBUILD = "every rebuild of points"
ADMINS = "clients as Admin"
HELD_VIEW = "    held: int\n    available: int\n"
BALANCE = "async def balance(db: Db, user_id: str) -> Balance | None:"


class Case(NamedTuple):
    """An edit; `level`, `where` and `what` of the verdicts on it, in order; `who` is named, `way` is told."""

    name: str
    edits: Sequence[Edit]
    found: Sequence[tuple[Level, str, str]]
    who: Sequence[str] = ()
    way: str = ""
    domain: str = "points"
    views: Sequence[Edit] = ()
    before: Sequence[Edit] = ()


def held(field: str, *, head: str = "") -> list[Edit]:
    """The event that a hold leaves, with another amount, or with more behind it."""
    new = HELD.replace("    amount: Points\n", field)
    return [(HELD, new.replace("topic=POINTS", f"topic=POINTS, {head}") if head else new)]


EVENT = "event points.points_held"
SAME = "    amount: Points\n"
EVENTS = [
    Case("optional field", held(SAME + "    note: Text | None = None\n"), [(FINE, EVENT, "field note: new, optional")]),
    Case(
        "required field", held(SAME + "    rate: int\n"), [(BROKEN, EVENT, "field rate: new, and must be given")],
        (REBUILD, PAYMENTS), "give it a default; or a new version with an upcaster",
    ),
    Case("removed field", held(""), [(BROKEN, EVENT, "field amount: it is gone")], (REBUILD, PAYMENTS), "a new event beside this one"),
    Case(
        "retyped field", held("    amount: str\n"), [(BROKEN, EVENT, "field amount: string instead of integer")],
        (PAYMENTS,), "a new optional field beside it; or a new version",
    ),
    Case(
        "tighter bound", held("    amount: Annotated[int, Field(strict=True, ge=1, le=500)]\n"),
        [(BROKEN, EVENT, "field amount: maximum 500 instead of 9007199254740991")], (PAYMENTS,), "let the rules write less",
    ),
    Case(
        "wider bound", held("    amount: Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]\n"),
        [(CARE, EVENT, "field amount: minimum 0 instead of 1")], (PAYMENTS,), "before the first such record",
    ),
    Case("null allowed", held("    amount: Points | None\n"), [(CARE, EVENT, "field amount: also null")], (PAYMENTS,)),
    Case("field may be left out", held("    amount: Points = 1\n"), [(CARE, EVENT, "it may be left out now")], (PAYMENTS,)),
    Case(
        "shorter text", [(HELD, HELD.replace("hold_id: Name", "hold_id: Annotated[Name, Field(max_length=64)]"))],
        [(BROKEN, EVENT, "field hold_id: maxLength 64 instead of 128")],
    ),
    Case(
        "other pattern", [(HELD, HELD.replace("hold_id: Name", 'hold_id: Annotated[str, Field(pattern="^h")]'))],
        [(BROKEN, EVENT, "pattern '^h' instead of"), (CARE, EVENT, "minLength"), (CARE, EVENT, "maxLength none instead of 128")],
    ),
    Case(
        "narrower within", [("    expires_at: Moment\n    amount: Points\n", "    amount: Points\n")],
        [(BROKEN, EVENT, "field lots[].expires_at: it is gone")],
    ),
    Case(
        "narrower enum", [(KIND, 'LoginKind = Literal["email"]')],
        [(BROKEN, "event identity.login_claimed", "field kind: no longer 'phone'")], ("policy registrations of identity",), "", "identity",
    ),
    Case(
        "wider enum", [(KIND, 'LoginKind = Literal["email", "phone", "passkey"]')],
        [(CARE, "event identity.login_claimed", "field kind: also 'passkey'"), (FINE, "command identity.claim_login", "also 'passkey'")],
        ("policy registrations of identity",), "bring those who listen up to date", "identity",
    ),
    Case(
        "other default", [("class PointsSpent(Event, topic=POINTS):\n    user_id: Name\n    amount: Points\n    reference: Name | None = None", "class PointsSpent(Event, topic=POINTS):\n    user_id: Name\n    amount: Points\n    reference: Name | None = 'none'")],
        [(CARE, "event points.points_spent", "its default is 'none' and was none")], (REBUILD,), "rebuild the views",
    ),
    Case("other key", held(SAME, head='key="hold_id"'), [(BROKEN, EVENT, "its key is hold_id and was user_id")], (PAYMENTS,), "another event"),
    Case(
        "no longer personal", [("    amount: Points\n    note: Personal[Text] | None = None\n    command_id", "    amount: Points\n    note: Text | None = None\n    command_id")],
        [(BROKEN, "event points.points_transfer_started", "field note: no longer personal")], ("policy transfers of points",), "fill both",
    ),
    Case(
        "personal now", held(SAME + "    note: Personal[Text] | None = None\n"), [(BROKEN, EVENT, "field note: personal now")], (PAYMENTS,), "fill both",
        before=held(SAME + "    note: Text | None = None\n"),
    ),
    Case("gone", [(HELD, "class PointsKept(Event, topic=POINTS):\n    of: Name\n    user_id: Name\n")],
         [(BROKEN, EVENT, "it is gone"), (FINE, "event points.points_kept", "it is new")], (PAYMENTS,), "keep its class"),
    Case("renamed", [(HELD, HELD.replace("PointsHeld", "PointsKept"))], [(BROKEN, EVENT, "it looks renamed to points_kept")], (PAYMENTS,), "a new event beside it"),
    Case("next version with an upcaster", held("    amount: str\n", head=NEXT),
         [(CARE, EVENT, "version 2 instead of 1, with an upcaster"), (FINE, EVENT, "string instead of integer")], (PAYMENTS,), "bring these up to date first"),
    Case("upcaster that cannot read what there is", held("    amount: str\n", head="version=2, upcasts={1: lambda old: {**old, 'amount': old['sum']}}"),
         [(BROKEN, EVENT, "example of version 1 is no longer read: points_held could not be brought from version 1 to 2: KeyError('sum')")], (), "mend the upcaster"),
    Case("upcaster that gives what does not fit", held("    amount: str\n", head="version=2, upcasts={1: dict}"),
         [(BROKEN, EVENT, "example of version 1 is no longer read: 1 validation error")]),
    Case("version taken back", [], [(BROKEN, EVENT, "version 1 instead of 2")], (PAYMENTS,), "versions only go up", before=held(SAME, head="version=2, upcasts={1: dict}")),
    Case("validator that no schema tells", [(HELD, HELD + "\n    @model_validator(mode='after')\n    def _few(self) -> Self:\n        assert self.amount < 50\n        return self\n\n")],
         [(BROKEN, EVENT, "example of version 1 is no longer read")]),
]  # fmt: skip
COMMAND = "command points.award_points"
STEP = "command points.credit_transfer"
COMMANDS = [
    Case("optional field", [(AWARD, "    why: Text | None = None\n" + AWARD)], [(FINE, COMMAND, "field why: new, optional")]),
    Case("required field", [(AWARD, "    why: Text\n" + AWARD)], [(BROKEN, COMMAND, "field why: new, and must be given")], (ADMINS,), "give it a default"),
    Case("removed field", [(AWARD, AWARD.replace("    expires_at: Moment | None = None\n", ""))],
         [(BROKEN, COMMAND, "field expires_at: it is gone")], (ADMINS, "policy rewards of points"), "keep it as optional"),
    Case("retyped field", [(AWARD, AWARD.replace("amount: Points", "amount: str"))], [(BROKEN, COMMAND, "string instead of integer")], (ADMINS,)),
    Case("tighter bound", [(AWARD, AWARD.replace("amount: Points", "amount: Annotated[int, Field(strict=True, ge=1, le=9)]"))],
         [(BROKEN, COMMAND, "maximum 9 instead of")], (ADMINS,), "let the rules refuse it"),
    Case("wider bound", [(AWARD, AWARD.replace("amount: Points", "amount: Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]"))], [(FINE, COMMAND, "minimum 0 instead of 1")]),
    Case("breaks clients whatever its version", [(AWARD, AWARD.replace("amount: Points", "amount: str")), (AWARDED, AWARDED + f"    {NEXT},\n")],
         [(CARE, COMMAND, "version 2 instead of 1"), (BROKEN, COMMAND, "string instead of integer")], (ADMINS,), "a new command, and retire this one"),
    Case("step with a required field", [(CREDIT, CREDIT + "    fee: int\n")], [(BROKEN, STEP, "field fee: new, and must be given")],
         ("policy transfers of points", "decider of points"), "or a new version with an upcaster"),
    Case("step in the next version", [(CREDIT, CREDIT.replace("services", "version=2, upcasts={1: lambda old: {**old, 'fee': 0}}, services") + "    fee: int\n")],
         [(CARE, STEP, "version 2 instead of 1"), (FINE, STEP, "field fee")], ("decider of points",), "bring these up to date first"),
    Case("fewer roles", [(SPEND, SPEND.replace('"User"', '"VIP"'))], [(BROKEN, "command points.spend_points", "no longer for User")], ("clients as User",)),
    Case("more roles", [(SPEND, SPEND.replace('"User"', '"Guest"'))], [(FINE, "command points.spend_points", "also for Guest, Partner")]),
    Case("an owner", [(AWARDED, AWARDED + '    owner="user_id",\n')], [(BROKEN, COMMAND, "its owner is user_id and was nobody")], (ADMINS,)),
    Case("no owner", [(SPEND, SPEND.replace('    owner="user_id",\n', ""))], [(FINE, "command points.spend_points", "its owner is nobody and was user_id")]),
    Case("fewer services", [(AWARDED, AWARDED.replace('    services=("points",),\n', ""))], [(BROKEN, COMMAND, "no longer for services of points")], ("policy rewards of points",)),
    Case("gone", [(CREDIT, CREDIT.replace("CreditTransfer", "BookTransfer"))], [(BROKEN, STEP, "it looks renamed to book_transfer")],
         ("policy transfers of points",), "say retired=True first"),
    Case("retired", [(AWARDED, AWARDED + "    retired=True,\n")], [(CARE, COMMAND, "it is retired")], (), "what to use instead"),
    Case("gone after it was retired", [(AWARDED, AWARDED.replace("AwardPoints", "GrantPoints"))], [(FINE, COMMAND, "it is gone; it was retired")], before=[(AWARDED, AWARDED + "    retired=True,\n")]),
    Case("other hash", [('    email_login: Annotated[Name | None, Blind("email", kind=LOGIN)]', '    email_login: Annotated[Name | None, Blind("email")]')],
         [(BROKEN, "command identity.register_user", "field email_login: hash of email as email instead of email as login")], domain="identity"),
]  # fmt: skip
TOPICS = [
    Case("other partitions", [(TOPIC, TOPIC.replace(")", ", partitions=8)"))], [(BROKEN, "domain points", "8 partitions instead of 4")], (PAYMENTS,), "put it back"),
    Case("a changelog", [(TOPIC, TOPIC.replace(")", ", changelog=True)"))], [(FINE, "domain points", "it has a changelog")]),
    Case("no changelog", [], [(BROKEN, "domain points", "it has no changelog any more")], before=[(TOPIC, TOPIC.replace(")", ", changelog=True)"))]),
    Case("retired", [(TOPIC, TOPIC.replace(")", ", retired=True)"))], [(CARE, "domain points", "it is retired"), (CARE, COMMAND, "it is retired")]),
    Case("another topic", [(TOPIC, TOPIC.replace('"points"', '"credits"'))],
         [(BROKEN, "domain points", "its contract is gone; it looks renamed to credits"), (FINE, "domain credits", "it is new")], (PAYMENTS,), "retire it first"),
]  # fmt: skip
VIEW = "view points.balance"
VIEWS = [
    Case("gone", [], [(BROKEN, VIEW, "it is gone")], ("clients as User",), "keep it", views=[("async def balance(", "async def _balance(")]),
    Case("longer path", [], [(BROKEN, VIEW, "its path is /v1/points/balance/{user_id}/{currency} and was /v1/points/balance/{user_id}")], views=[(BALANCE, BALANCE.replace("user_id: str", "user_id: str, currency: str"))]),
    Case("optional parameter", [], [(FINE, VIEW, "parameter currency: new, optional")], views=[(BALANCE, BALANCE.replace("user_id: str", 'user_id: str, currency: str = "EUR"'))]),
    Case("answer without a field", [], [(BROKEN, VIEW, "field held: it is gone")], ("clients as User",), "keep it", views=[(HELD_VIEW, "    available: int\n")]),
    Case("answer with another type", [], [(BROKEN, VIEW, "field held: string instead of integer")], views=[(HELD_VIEW, HELD_VIEW.replace("held: int", "held: str"))]),
    Case("answer with one more field", [], [(FINE, VIEW, "field rank: new, and must be given")], views=[(HELD_VIEW, HELD_VIEW + "    rank: int\n")]),
    Case("answer that may be null", [], [(CARE, VIEW, "field held: also null")], views=[(HELD_VIEW, HELD_VIEW.replace("held: int", "held: int | None"))]),
    Case("fewer readers", [], [(BROKEN, VIEW, "no longer for User, VIP, PRO")], views=[('@view(roles=("User",), owner="user_id")\n' + BALANCE, '@view(roles=("Admin",), owner="user_id")\n' + BALANCE)]),
]  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> Shipped:
    return Shipped()


def judged(shipped: Shipped, case: Case) -> list[Judged]:
    """What is said of an edit."""
    before = shipped.before(case.domain, case.before)
    domain = shipped.edited(case.domain, case.edits, case.views)
    return [*verdicts(before, documents([domain], before)), *unread([domain], before)]


@pytest.mark.req("SR015")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{kind}: {case.name}")
        for kind, cases in (("event", EVENTS), ("command", COMMANDS), ("topic", TOPICS), ("view", VIEWS))
        for case in cases
    ],
)
def test_an_edit_has_its_verdict(shipped: Shipped, case: Case) -> None:
    found = judged(shipped, case)
    told = [(one.level, one.where, one.what) for one in found]
    for level, where, what in case.found:
        assert any((level, where) == one[:2] and what in one[2] for one in told), (level, where, what, told)
    worst = {level for level, _, _ in told}
    assert (BROKEN in worst) is any(level == BROKEN for level, _, _ in case.found), told
    wanted = max((level for level, _, _ in case.found), key=(FINE, CARE, BROKEN).index)
    first = [
        one
        for one in found
        if one.level == wanted and (one.where, True) in {(w, x in one.what) for _, w, x in case.found}
    ]
    assert {*case.who} <= {who for one in first for who in one.who}
    assert case.way in " ".join(one.way for one in first)
    assert all(one.breaks and one.way for one in found if one.level == BROKEN)


@pytest.mark.req("SR015")
def test_a_version_without_an_upcaster_is_no_contract(shipped: Shipped) -> None:
    with pytest.raises(ContractError, match=r"version 2 cannot read the records of version 1"):
        shipped.edited("points", held("    amount: str\n", head="version=2"))


def test_nothing_is_said_of_what_did_not_change(shipped: Shipped) -> None:
    """Not even of words and examples."""
    case = Case(
        "words",
        [
            ('"""Points were not used in time."""', '"""Points were not used, and are gone."""'),
            ('"source": "quest-17"', '"source": "quest-18"'),
        ],
        [],
    )
    assert judged(shipped, case) == []
    assert verdicts(shipped.documents, shipped.documents) == []


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"number": None}, BROKEN, "field number: it is gone"),
        ({"number": {"type": "string"}}, BROKEN, "field number: string instead of integer"),
        ({"shard": {"type": "integer"}}, FINE, "field shard: new, optional"),
    ],
)
def test_the_envelope_is_a_contract_too(shipped: Shipped, change: dict[str, Any], level: Level, words: str) -> None:
    now = deepcopy(shipped.documents)
    properties = now[ASYNCAPI]["components"]["schemas"]["event"]["properties"]
    for name, part in change.items():
        properties.pop(name, None) if part is None else properties.update({name: part})
    (verdict,) = verdicts(shipped.documents, now)
    assert (verdict.level, verdict.where) == (level, "envelope of every event")
    assert words in verdict.what


def test_a_route_of_the_platform_is_a_contract_too(shipped: Shipped) -> None:
    now = deepcopy(shipped.documents)
    del now[OPENAPI]["paths"]["/v1/commands/{id}"]
    (verdict,) = verdicts(shipped.documents, now)
    assert (verdict.level, verdict.where) == (BROKEN, "route /v1/commands/{id}")


@pytest.mark.parametrize(
    ("retired", "imported", "level", "words"),
    [
        (False, True, BROKEN, "retire it first"),
        (False, False, BROKEN, "retire it first"),
        (True, True, BROKEN, "take it out of these first"),
        (True, False, CARE, "archive its topics"),
    ],
)
def test_a_domain_goes_when_it_was_retired_and_nobody_listens(
    shipped: Shipped, retired: bool, imported: bool, level: Level, words: str
) -> None:
    told = {**shipped.documents[CONTRACTS]["domains"]["points"], "retired": retired}
    verdict = gone("points", told, {}, imported=imported)
    assert (verdict.level, verdict.who) == (level, (PAYMENTS,))
    assert words in verdict.way
