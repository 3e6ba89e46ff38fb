"""`caravan contracts export`, `docs` and `check`."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

import topics
from caravan.contracts import pages
from caravan.contracts.catalogue import discovered
from caravan.contracts.documents import CONTRACTS, Documents, documents, read, write
from caravan.contracts.flow import Domain
from caravan.contracts.judged import BROKEN, CARE, FINE, Judged
from caravan.contracts.verdicts import gone, unread, verdicts
from caravan.errors import Problem
from streams.errors import ContractError

log = logging.getLogger(__name__)

STYLES = {BROKEN: "bold red", CARE: "yellow", FINE: "green"}
WIDTH = 160  # columns where nobody looks at a terminal


class Incompatible(Problem):
    """A contract was changed in a way that breaks those who rely on it."""


class Stale(Problem):
    """The committed export is not that of the code."""


def committed() -> Path:
    """The folder of the export in the checkout that this code is of."""
    return Path(next(iter(topics.__path__))).resolve().parent / "docs" / "contracts"


def export(folder: Path | None, *, accept_incompatible: bool) -> None:
    """Write all documents; raises Incompatible, and writes nothing, where they break what the folder holds."""
    place = folder or committed()
    before = read(place)
    now, found = _now(before)
    if not accept_incompatible and any(one.level == BROKEN for one in found):
        _show(found)
        raise Incompatible(
            f"{_count(found)}; nothing was written. Change the contract as told; or, where nobody can rely on it yet, say --accept-incompatible"
        )
    changed = write(place, now)
    print(f"{place}: {len(now)} documents, {len(changed) or 'none'} changed")
    for path in changed:
        print(f"  {path}{'' if path in now else ' (deleted)'}")


def write_pages(folder: Path | None) -> None:
    """Write a page per domain."""
    place, domains = folder or _pages(), discovered()
    found = pages.pages(domains, documents(domains))
    changed = pages.write(place, found)
    print(f"{place}: {len(found)} pages, {len(changed) or 'none'} changed")


def _pages() -> Path:
    """The folder of the pages in this checkout."""
    return committed().parent / "domains"


def check(folder: Path | None, *, as_json: bool) -> None:
    """Compare the code's contracts with an export; raises Incompatible or Stale unless nothing differs at all.

    With the one of the checkout its pages are looked at as well.
    """
    place = folder or committed()
    before = read(place)
    if CONTRACTS not in before:
        raise Stale(f"{place} has no export to compare with; make one with: caravan contracts export")
    now, found = _now(before)
    stale = [path for path in sorted({*before, *now}) if before.get(path) != now.get(path)]
    if as_json:
        print(json.dumps({"verdicts": [asdict(one) for one in found], "stale": stale}, ensure_ascii=False))
    elif found:
        _show(found)
    if any(one.level == BROKEN for one in found):
        raise Incompatible(f"{_count(found)}: those named rely on what was exported. Change the contract as told")
    if found:
        raise Stale(
            f"{_count(found)}, nothing breaks; docs/contracts is older than the code. Export again and commit it: caravan contracts export"
        )
    if stale:
        raise Stale(
            f"no contract differs, but {_these(stale)}: words, examples or who listens. Export again and commit it: caravan contracts export"
        )
    if folder is None and (old := pages.stale(_pages(), pages.pages(discovered(), now))):
        raise Stale(
            f"docs/domains/{old[0]} is older than the code. Write the pages again and commit them: caravan contracts docs"
        )
    if not as_json:
        print(
            f"{len(now[CONTRACTS]['domains'])} domains, {len(now)} documents: the contracts are as they were exported"
        )


def shown() -> Documents | None:
    """The documents that the edge shows, with those of older versions where the export is at hand; None where the code does not give any.

    An edge serves commands and views whatever an agent's module has wrong: its workers say so.
    """
    try:
        place = committed()
        return documents(discovered(), read(place) if place.is_dir() else {})
    except Exception:
        log.exception("the contracts are not shown: /contracts, /asyncapi.json and /schemas answer 404")
        return None


def _these(stale: Sequence[str]) -> str:
    return f"{stale[0]} does" if len(stale) == 1 else f"{len(stale)} documents do, {stale[0]} among them"


def _now(before: Documents) -> tuple[Documents, list[Judged]]:
    """What the code says now, and what that means to those who rely on `before`."""
    try:
        domains: Sequence[Domain] = discovered()
    except ModuleNotFoundError as error:
        raise _missing(error, before) from error
    except ContractError as error:
        raise Incompatible(f"a contract cannot be declared: {error}") from error
    now = documents(domains, before)
    if CONTRACTS not in before:
        return now, []
    found = verdicts(before, now)
    broken = {one.where for one in found if one.level == BROKEN}
    found += [one for one in unread(domains, before) if one.where not in broken]  # else it says the same once more
    return now, sorted(found, key=_worst)


def _missing(error: ModuleNotFoundError, before: Documents) -> Exception:
    """The contract of a domain is gone, and some domain's code still imports it."""
    package, _, name = (error.name or "").partition(".")
    told = before.get(CONTRACTS, {"domains": {}})["domains"]
    if package != "topics" or name not in told:
        return error
    verdict = gone(name, told[name], {}, imported=True)
    whom = f"; its events are listened to by {', '.join(verdict.who)}" if verdict.who else ""
    return Incompatible(
        f"topics/{name}.py is gone, and code of another domain imports it{whom}. {verdict.way[0].upper()}{verdict.way[1:]}"
    )


def _worst(one: Judged) -> int:
    return (BROKEN, CARE, FINE).index(one.level)


def _count(found: Sequence[Judged]) -> str:
    counts = Counter(one.level for one in found)
    return ", ".join(f"{counts[level]} {level}" for level in (BROKEN, CARE, FINE) if counts[level])


def _show(found: Sequence[Judged]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("verdict", "contract", "change"):
        table.add_column(column, overflow="fold")
    for one in found:
        lines = [escape(one.what)]
        why, way = ("breaks", "instead") if one.level == BROKEN else ("mind", "do")
        who = "listens" if one.where.startswith("event ") else "concerns"
        for name, words in ((why, one.breaks), (who, "; ".join(one.who)), (way, one.way)):
            if words:
                lines.append(f"[dim]{name}:[/] {escape(words)}")
        table.add_row(f"[{STYLES[one.level]}]{one.level}[/]", escape(one.where), "\n".join(lines))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
