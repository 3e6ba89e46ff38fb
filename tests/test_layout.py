"""The code base keeps its shape: small parts, plain names, every file says what it is."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from streams import discover

ROOT = Path(__file__).parents[1]
PACKAGES = ("caravan", "api", "agents", "sinks", "topics", "streams")
FILES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
FILE = 450  # lines
FUNCTION = 50  # lines, with its docstring
ARGUMENTS = 9
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}
STAGES = {"__init__", "rules", "agent", "table", "sink", "view", "audit", "api"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_is_small_and_says_what_it_is(path: Path) -> None:
    """One noun per file: a docstring, few lines, functions that fit on a screen."""
    text = path.read_text()
    tree = ast.parse(text)
    long = [one.name for one in functions(tree) if (one.end_lineno or 0) - one.lineno >= FUNCTION]
    wide = [one.name for one in functions(tree) if len(one.args.args) + len(one.args.kwonlyargs) > ARGUMENTS]

    assert ast.get_docstring(tree), "its first line says what it is"
    assert text.count("\n") <= FILE
    assert (long, wide) == ([], [])
    assert path.stem not in VAGUE


@pytest.mark.req("SR053")
@pytest.mark.parametrize("path", [path for path in FILES if path.is_relative_to(ROOT / "agents")], ids=named)
def test_a_domain_has_stages_and_nothing_else(path: Path) -> None:
    """Whoever knows one domain knows where to look in all."""
    parts = path.relative_to(ROOT / "agents").with_suffix("").parts

    assert len(parts) == 1 or parts[1] in STAGES


def test_every_domain_has_a_contract_and_tests() -> None:
    """A domain is one folder, one contract and its tests; a contract without a folder says that it stands in for a domain to come."""
    domains = {path.name for path in (ROOT / "agents").iterdir() if (path / "__init__.py").exists()}
    contracts = set(discover.domains())
    stand_ins = {name for name in contracts if "A stand-in:" in (import_module(f"topics.{name}").__doc__ or "")}

    assert domains == contracts - stand_ins
    assert all((ROOT / "tests" / domain).is_dir() for domain in domains)


def test_decisions_are_short_and_numbered() -> None:
    """Half a page each, each with a number of its own."""
    notes = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert len({note.name[:4] for note in notes}) == len(notes) > 0
    assert all(len(note.read_text().split()) <= 400 for note in notes)


@pytest.mark.req("SR006")
@pytest.mark.req("SR053")
def test_who_may_import_whom() -> None:
    """The edge reaches no agent or table, domains never reach each other, rules are pure: pyproject.toml has the contracts."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.req("SR006")
@pytest.mark.parametrize("path", [path for path in FILES if path.is_relative_to(ROOT / "api")], ids=named)
def test_the_edge_names_no_domain(path: Path) -> None:
    """What it serves comes from contracts, so a new domain needs no line here."""
    words = set(re.findall(r"[a-z]+", path.read_text().lower()))

    assert not words & set(discover.domains())
