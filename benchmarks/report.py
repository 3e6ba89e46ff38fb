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
    ours = next((result.median for result in results if result.system == OURS), None)
    peers = len({result.system for result in results}) > 1
    lines = [
        f"| {results[0].work} | load | median | low - high | {'caravan is' if peers else 'unit'} |",
        "|---|---|---:|---:|---:|",
    ]
    for result in sorted(results, key=lambda one: -one.median) if peers else results:
        system = f"{result.system} ({result.variant})" if result.variant else result.system
        last = (f"{ours / result.median:.2f} x" if ours and result.median else "") if peers else result.unit
        figures = f"{_number(result.median)}{'/s' * peers} | {_number(result.low)} - {_number(result.high)}"
        lines.append(f"| {system} | {result.load} | {figures} | {last} |")
    return "\n".join(lines)


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
