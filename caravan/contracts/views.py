"""The rules for views: their routes, parameters, readers and answers, which clients were built for."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from caravan.contracts import fields
from caravan.contracts.differences import compare
from caravan.contracts.judged import BROKEN, CARE, FINE, Judged
from streams.contract import ROLES, permits

Told = Mapping[str, Any]
_ANOTHER = "another view beside it"


def verdicts(domain: str, olds: Told, news: Told, before: Told, now: Told) -> Iterator[Judged]:
    """What the change of a domain's views means; the last two are the OpenAPI documents that they stand in."""
    for name in sorted({*olds, *news}):
        where = f"view {domain}.{name}"
        if name not in news:
            who = _readers(olds[name])
            yield Judged(
                BROKEN, where, "it is gone", "its clients get 404", who, "keep it; or serve what it served from another"
            )
        elif name not in olds:
            yield Judged(FINE, where, "it is new")
        else:
            yield from _view(where, olds[name], news[name], before, now)


def _readers(view: Told) -> tuple[str, ...]:
    return (f"clients as {', '.join(view['roles'])}",) if view["roles"] else ()


def _view(where: str, old: Told, new: Told, before: Told, now: Told) -> Iterator[Judged]:
    who = _readers(old)
    was, is_ = (re.findall(r"\{(\w+)\}", view["path"]) for view in (old, new))
    if len(was) != len(is_):
        what = f"its path is {new['path']} and was {old['path']}"
        yield Judged(
            BROKEN,
            where,
            what,
            "its clients get 404",
            who,
            f"{_ANOTHER}; or a parameter with a default, which is no part of the path",
        )
    elif was != is_:
        what, why = (
            f"its path is {new['path']} and was {old['path']}",
            "clients that are generated name the parameter as before",
        )
        yield Judged(CARE, where, what, why, who, "tell the clients, if it means the same")
    for name in sorted({*old["query"]} - {*new["query"]}):
        yield Judged(
            BROKEN,
            where,
            f"parameter {name}: it is gone",
            "who gives it is refused (422)",
            who,
            f"keep it; or {_ANOTHER}",
        )
    for name in sorted({*new["query"]} - {*old["query"]}):
        yield Judged(FINE, where, f"parameter {name}: new, optional")
    if lost := [role for role in ROLES if permits(old["roles"], role) and not permits(new["roles"], role)]:
        yield Judged(BROKEN, where, f"no longer for {', '.join(lost)}", "they are refused (403)", who, _ANOTHER)
    if old["owner"] != new["owner"] and new["owner"] is not None:
        what = f"its owner is {new['owner']} and was {old['owner'] or 'nobody'}"
        yield Judged(BROKEN, where, what, "callers who are not that owner get 404", who, _ANOTHER)
    yield from _spoken(where, old, new, before, now)


def _spoken(where: str, old: Told, new: Told, before: Told, now: Told) -> Iterator[Judged]:
    """Parameters and answer, by what OpenAPI says."""
    was, is_ = before["paths"].get(old["path"]), now["paths"].get(new["path"])
    if was is None or is_ is None:  # services alone read it
        return
    parts = before["components"]["schemas"], now["components"]["schemas"]
    asked, asks = _parameters(was["get"]), _parameters(is_["get"])
    for name in asked:
        if name in asks:
            for one in compare(asked[name], asks[name], *parts):
                level = FINE if one.kind == "wider" else CARE if one.kind == "default" else BROKEN
                why = "" if level == FINE else "what was taken is refused or means something else"
                yield Judged(
                    level,
                    where,
                    f"parameter {name}: {one.words}",
                    why,
                    _readers(old) if why else (),
                    _ANOTHER if why else "",
                )
    yield from fields.judged(
        fields.ANSWER, where, compare(_answer(was["get"]), _answer(is_["get"]), *parts), _readers(old)
    )


def _parameters(operation: Told) -> dict[str, Any]:
    return {one["name"]: one["schema"] for one in operation["parameters"] if "name" in one}


def _answer(operation: Told) -> Any:
    return operation["responses"]["200"]["content"]["application/json"]["schema"]
