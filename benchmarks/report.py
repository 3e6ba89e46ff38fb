"""`python -m benchmarks.report`: the saved results as Markdown, for the README."""

from typing import Any

from benchmarks.results import Result, load

OURS = "caravan"


def render(header: dict[str, Any], results: list[Result]) -> str:
    """A table a work, then the line that says where it was measured."""
    works = dict.fromkeys(result.work for result in results)
    tables = [_table([result for result in results if result.work == work]) for work in works]
    return "\n\n".join([*tables, _where(header)])


def _table(results: list[Result]) -> str:
    lines = [f"| {results[0].work} | load | median | low - high | caravan is |", "|---|---|---:|---:|---:|"]
    for result in _ordered(results):
        system = f"{result.system} ({result.variant})" if result.variant else result.system
        figures = f"{_number(result.median)} {result.unit} | {_number(result.low)} - {_number(result.high)}"
        lines.append(f"| {system} | {result.load} | {figures} | {_ratio(result, results)} |")
    return "\n".join(lines)


def _ordered(results: list[Result]) -> list[Result]:
    """Loads as they were measured; of the systems on a load that does work at a rate the fastest first."""
    loads = list(dict.fromkeys(result.load for result in results))
    return sorted(results, key=lambda one: (loads.index(one.load), -one.median if _is_rate(one) else 0))


def _ratio(result: Result, results: list[Result]) -> str:
    """How many times as fast ours is on the same load; on the first one where it was not measured on that (the slow ones get fewer events)."""
    rates = [one for one in results if one.system == OURS and one.unit == result.unit]
    if result.system == OURS or not _is_rate(result) or not rates or not result.median:
        return ""
    ours = next((one for one in rates if one.load == result.load), rates[0])
    return f"{ours.median / result.median:.2f} x"


def _is_rate(result: Result) -> bool:
    return result.unit.endswith("/s")


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:g}"


def _where(header: dict[str, Any]) -> str:
    machine, versions = header["machine"], header["versions"]
    return (
        f"Measured on {header['date'][:10]} at commit {header['commit']} on {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gib']} GiB, with Python {versions['python']}, Java {versions['java']}, PostgreSQL "
        f"{versions['postgres']}; broker, Postgres and load on the same machine. Again: `{'`, `'.join(header['commands'])}`."
    )


if __name__ == "__main__":
    print(render(*load()))
