"""`caravan new`: a small working domain in new files only, which the platform finds by their names."""

import builtins
import keyword
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

import typer

from caravan.errors import BadInput
from streams.contract import Command, Event

ROOT_FILES = ("pyproject.toml", "topics/__init__.py", "agents/__init__.py", "tests/__init__.py")
RESERVED = {
    "edge": "the edge has a schema of that name",
    "commands": "/v1/commands tells what became of commands",
    "core": "the core's migrations are called so",
    "caravan": "it is the name of the platform",
    "public": "Postgres has a schema of that name",
    "information_schema": "Postgres has a schema of that name",
}
OURS = {"state", "fact", "case", "command", "event", "topic", "decider", "table", "rows", "view", "db", "root", "name", "text"}  # fmt: skip
TABLES = {
    "offsets",
    "results",
    "outbox",
    "parked",
    "timers",
    "effects",
    "requests",
    "migrations",
}  # the core's, in every schema
PAST = {"buy": "bought", "send": "sent", "pay": "paid", "hold": "held", "take": "taken", "give": "given", "set": "set", "put": "put",
    "begin": "begun", "make": "made", "write": "written", "choose": "chosen", "win": "won", "lose": "lost", "get": "got",
    "leave": "left", "meet": "met", "build": "built", "sell": "sold", "find": "found", "keep": "kept", "do": "done", "run": "run",
    "draw": "drawn", "withdraw": "withdrawn", "submit": "submitted", "plan": "planned", "ship": "shipped", "stop": "stopped"}  # fmt: skip


@dataclass(frozen=True)
class Names:
    """What the domain's things are called, in snake_case."""

    domain: str
    aggregate: str
    key: str
    command: str
    event: str

    def variables(self) -> dict[str, str]:
        """What stands for what in the templates."""
        return {
            **self.__dict__,
            "DOMAIN": self.domain.upper(),
            "Title": self.domain.replace("_", " ").capitalize(),
            "words": self.aggregate.replace("_", " "),
            "Aggregate": pascal(self.aggregate),
            "Command": pascal(self.command),
            "Event": pascal(self.event),
            "imports": ", ".join(sorted((pascal(self.command), pascal(self.event)))),
        }

    def paths(self) -> dict[str, str | None]:
        """Every file of the domain with its template; None is an empty one."""
        agent, tests = f"agents/{self.domain}", f"tests/{self.domain}"
        stages = {f"{agent}/{name}.py": name for name in ("rules", "table", "sink", "view", "agent")}
        checks = {f"{tests}/{name}.py": name for name in ("test_contract", "test_rules", "test_flow")}
        return {
            f"topics/{self.domain}.py": "topic",
            f"{agent}/__init__.py": "init",
            **stages,
            f"{agent}/schema/0001_{self.aggregate}.sql": "schema",
            f"{tests}/__init__.py": None,
            **checks,
        }


Ask = Callable[[str, str], str]
"""Asks for something, with the answer that is meant by an empty line."""


def new(domain: str, given: dict[str, str | None], *, yes: bool, into: Path | None) -> None:
    """Write the domain; questions are asked on a terminal for what `given` leaves open. Raises BadInput."""
    root = checkout(into or Path.cwd(), search=into is None)
    check_domain(domain, root)
    asking = not yes and sys.stdin.isatty() and any(value is None for value in given.values())
    names = named(domain, given, _ask if asking else lambda _question, usual: usual)
    written = write(names, root)
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(afterwards(names))


def checkout(start: Path, *, search: bool) -> Path:
    """The checkout around (with `search`) or at that folder; raises BadInput where there is none."""
    for folder in (start.absolute(), *(start.absolute().parents if search else ())):
        if all((folder / name).is_file() for name in ROOT_FILES):
            return folder
    raise BadInput(
        f"{start.absolute()} is no checkout of Caravan (it has no topics/ and agents/); go there, or name it with --into"
    )


def check_domain(domain: str, root: Path) -> None:
    """Raise BadInput for a name that cannot be a domain's here."""
    check_name(domain, "domain", 40)
    if domain in RESERVED:
        raise BadInput(f"a domain cannot be called '{domain}': {RESERVED[domain]}; choose another name")
    if domain.endswith("_shadow") or domain.startswith("pg_"):
        raise BadInput(
            f"a domain cannot be called '{domain}': such schemas have a meaning of their own; choose another name"
        )
    for path in (root / "topics" / f"{domain}.py", root / "agents" / domain, root / "tests" / domain):
        if path.exists():
            raise BadInput(f"{path.relative_to(root)} is there already; choose another name than '{domain}'")


def check_name(name: str, what: str, longest: int = 50) -> None:
    """Raise BadInput for what cannot stand in code, in SQL and on the wire."""
    mend = "use lower-case words joined by _, each beginning with a letter, as in loyalty_cards"
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*", name):
        raise BadInput(f"'{name}' cannot be the name of a {what}: {mend}")
    if len(name) > longest:
        raise BadInput(f"the name of a {what} has at most {longest} characters; '{name}' has {len(name)}")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name):
        raise BadInput(f"'{name}' means something else in Python; choose another name for the {what}")


def named(domain: str, given: dict[str, str | None], ask: Ask) -> Names:
    """All names, given or asked for, each checked at once; raises BadInput."""

    def one(what: str, question: str, usual: str, check: Callable[[str], None]) -> str:
        if (told := given.get(what)) is None:
            return _until_good(ask, question, usual, check)
        check(told)
        return told

    aggregate = one("aggregate", "One of them is called", singular(domain), _check_aggregate)
    key = one("key", "Field that identifies it", f"{aggregate}_id", _check_key)
    command = one(
        "command", "First command", f"create_{aggregate}", lambda told: _check_message(told, "command", aggregate, "")
    )
    event = one(
        "event", "The event that follows", past(command), lambda told: _check_message(told, "event", aggregate, command)
    )
    return Names(domain, aggregate, key, command, event)


def _until_good(ask: Ask, question: str, usual: str, check: Callable[[str], None]) -> str:
    """Ask again after an answer that cannot be; what nobody was asked is refused at once."""
    while True:
        told = ask(question, usual)
        try:
            check(told)
        except BadInput as error:
            if ask is not _ask:
                raise
            typer.secho(str(error), fg="red", err=True)
        else:
            return told


def _ask(question: str, usual: str) -> str:
    told: str = typer.prompt(question, default=usual)
    return told.strip()


def _check_aggregate(name: str) -> None:
    check_name(name, "aggregate")
    if name in OURS | TABLES:
        raise BadInput(f"'{name}' has a meaning in every domain; call the aggregate something else with --aggregate")


def _check_key(name: str) -> None:
    check_name(name, "key field")
    taken = {
        known
        for kind in (*Command.__mro__, *Event.__mro__)
        for known in (*vars(kind), *vars(kind).get("__annotations__", ()))
    }
    if name in {"db", "text", "changed_at", *taken}:
        raise BadInput(f"a message cannot have a field '{name}'; choose another with --key, as in {name}_id")


def _check_message(name: str, kind: str, aggregate: str, other: str) -> None:
    check_name(name, kind)
    if (
        name
        in {aggregate, other, "command", "event", "topic", "name", "text", f"{aggregate}_row", f"{aggregate}_view"}
        | OURS
    ):
        raise BadInput(f"'{name}' is taken by something else in the domain; choose another {kind} with --{kind}")


def singular(domain: str) -> str:
    """One of them: `invoices` is `invoice`, `stories` is `story`."""
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh")):
        if domain.endswith(ending):
            return domain.removesuffix(ending) + instead
    return domain.removesuffix("s") if not domain.endswith(("ss", "us", "is")) else domain


def past(command: str) -> str:
    """The event of a command: `create_invoice` is followed by `invoice_created`."""
    verb, _, rest = command.partition("_")
    done = PAST.get(verb)
    if done is None and verb.endswith("y") and verb[-2:-1] not in "aeiou":
        done = verb[:-1] + "ied"
    done = done or (verb + "d" if verb.endswith("e") else verb + "ed")
    return f"{rest}_{done}" if rest else done


def pascal(name: str) -> str:
    """`create_invoice` as a class name."""
    return "".join(word.capitalize() for word in name.split("_"))


def write(names: Names, root: Path) -> list[str]:
    """Write all files or, when one cannot be, none; their paths."""
    texts = {path: _filled(template, names) for path, template in names.paths().items()}
    written: list[Path] = []
    try:
        for path, text in texts.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            with (root / path).open("x") as file:
                written.append(root / path)
                file.write(text)
    except OSError:
        for done in written:
            done.unlink()
        for folder in (f"agents/{names.domain}/schema", f"agents/{names.domain}", f"tests/{names.domain}"):
            if (root / folder).is_dir() and not any((root / folder).iterdir()):
                (root / folder).rmdir()
        raise
    _format(root, [path for path in texts if path.endswith(".py")])
    return list(texts)


def _filled(template: str | None, names: Names) -> str:
    if template is None:
        return ""
    text = (files("caravan") / "templates" / f"{template}.tmpl").read_text("utf-8")
    return Template(text).substitute(names.variables())


def _format(root: Path, paths: list[str]) -> None:
    """Long names may need other line breaks and another order of imports; the formatter, where there is one, knows them."""
    if find_spec("ruff") is not None:
        for command in (["check", "--no-cache", "--select", "I", "--fix"], ["format", "--no-cache"]):
            subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", *paths], cwd=root, check=False)


def afterwards(names: Names) -> str:
    """What to do next."""
    body = f'{{"{names.key}": "{names.aggregate}-1", "text": "Hello"}}'
    test = f".venv/bin/python -m pytest tests/{names.domain}"
    run = "caravan up --reload"
    export = "caravan contracts export"
    header = """-H "Authorization: Bearer $TOKEN\""""
    return f"""
Next:
  {test}  # its tests pass already
  {run:<{len(test)}}  # a platform that runs with --reload has it by now
  {export:<{len(test)}}  # the contracts as documents; make check asks for it
  TOKEN=$(caravan token --user u1 --role User)
  curl -s localhost:8000/v1/{names.domain}/{names.command} {header} -H 'Content-Type: application/json' -H 'Prefer: wait=5' -d '{body}'
  curl -s localhost:8000/v1/{names.domain}/{names.aggregate}/{names.aggregate}-1 {header}
Then make it yours: topics/{names.domain}.py has the messages, agents/{names.domain}/rules.py decides."""
