"""`caravan send`: the commands of a file through the edge, each once however often the file is sent."""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple
from uuid import UUID

from api.client import Client, EdgeError, Unreachable
from api.client.client import WAIT_S
from caravan.commands import ROLES, seconds, settings, signed_token
from caravan.errors import BadInput, NotRunning, Problem
from caravan.instance import Instance
from streams import discover
from streams.contract import Command

TOLD = 10  # bad or failed lines that are shown
AHEAD = 16  # lines read ahead for each request under way
TTL = 12 * 3600  # s that our tokens are good for
_OURS = frozenset({408, 429})
_NOT_OF_A_RULE = frozenset({"in_progress", "idempotency_key_reused", "not_found"})
FORM = '{"command": "points.award_points", "id": UUID, "as": {"user": "u1", "role": "Admin"}, "data": {…}}'


class Answer(NamedTuple):
    """What became of a command; `code` says why it was rejected or failed, `words` say it in words."""

    status: Literal["accepted", "rejected", "failed"]
    code: str | None = None
    words: str = ""
    command_id: str | None = None


class SomeFailed(Problem):
    """Not every command of a file came to an end."""


@dataclass(frozen=True)
class Line:
    """A command of the file."""

    number: int
    contract: type[Command]
    id: str
    user: str | None
    role: str
    data: dict[str, Any]

    @property
    def lane(self) -> tuple[str, str]:
        """Commands of one lane are sent one after the other: those of the same key of a domain."""
        return self.contract.topic.domain, str(self.data.get(self.contract.key_field, self.id))


@dataclass
class Tally:
    """What became of the commands so far."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, line: Line, answer: Answer) -> None:
        """Count one."""
        if answer.status == "accepted":
            self.accepted += 1
        elif answer.status == "rejected":
            self.rejected[answer.code or "rejected"] += 1
        else:
            self.failed[answer.code or "failed"] += 1
            if len(self.examples) < TOLD:
                self.examples.append(f"line {line.number} ({line.id}): {answer.code}: {answer.words}")

    @property
    def total(self) -> int:
        return self.accepted + self.rejected.total() + self.failed.total()


def send(folder: Path, file: str, *, url: str | None, concurrency: int, timeout: str, results: Path | None) -> None:
    """Send a file (`-`: standard input). Raises BadInput before anything is sent, SomeFailed after."""
    ours = settings(folder)
    where = url or _url_of(folder)
    with opened(file) as source:
        count = check(source, file)
        token = lru_cache(4096)(lambda user, role: signed_token(ours, user, role, TTL))
        began = time.monotonic()
        with _bar(count) as advance, _written(results) as write:
            tally = Tally()

            def done(line: Line, answer: Answer) -> None:
                tally.add(line, answer)
                write(line, answer)
                advance()

            run = Sending(where, token, concurrency, seconds(timeout), done)
            try:
                asyncio.run(run.all(lines(source, file)))
            except Unreachable as error:
                sent = f" after {tally.total} of {count} commands" if tally.total else ""
                mend = "start it with `caravan up`, or name it with --url; sending the file again repeats nothing"
                raise Problem(f"the edge is away{sent}: {error}; {mend}") from error
        took = time.monotonic() - began
    _show(tally, took)


class Sending:
    """Sends lines, so many at a time, those of one lane in order."""

    def __init__(
        self,
        url: str,
        token: Callable[[str, str], str],
        concurrency: int,
        patience: float,
        done: Callable[[Line, Answer], None],
    ) -> None:
        """`done` is called for each with what became of it."""
        self._url, self._token, self._done = url, token, done
        self._concurrency, self._patience = concurrency, patience
        self._gate = asyncio.Semaphore(concurrency)
        self._room = asyncio.Semaphore(concurrency * AHEAD)
        self._last: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def all(self, source: Iterator[Line]) -> None:
        """Send them all; raises Unreachable, after which the rest was not sent."""
        async with Client(self._url, connections=self._concurrency, patience=self._patience) as client:
            await client.probe()
            try:
                async with asyncio.TaskGroup() as group:
                    for line in source:
                        await self._room.acquire()
                        before = self._last.get(line.lane)
                        task = group.create_task(self._one(client, line, before))
                        self._last[line.lane] = task
                        task.add_done_callback(partial(self._ended, line.lane))
            except* Unreachable as errors:
                raise errors.exceptions[0] from None

    async def _one(self, client: Client, line: Line, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        async with self._gate:
            token = None if line.user is None else self._token(line.user, line.role)
            self._done(line, await self._sent(client.by(token, own_writes=False), line))

    async def _sent(self, client: Client, line: Line) -> Answer:
        """What became of it; raises Unreachable."""
        domain, name, body = line.contract.topic.domain, line.contract.wire_name, json.dumps(line.data).encode()
        deadline = time.monotonic() + self._patience
        try:
            outcome = await client.send(domain, name, body, key=line.id, wait=WAIT_S)
            outcome = await client.wait(outcome, deadline - time.monotonic())
        except Unreachable:
            raise
        except EdgeError as error:
            return _refused(error, sent=line.user is not None)
        if outcome.status == "pending":
            words = f"it had no result after {self._patience:.0f} s; send the file again to see what became of it"
            return Answer("failed", "pending", words, outcome.command_id)
        if outcome.status == "parked":
            return Answer("failed", "parked", "an operator has to look at it: caravan parked list", outcome.command_id)
        if outcome.accepted:
            return Answer("accepted", None, "", outcome.command_id)
        return Answer("rejected", outcome.code or "rejected", "", outcome.command_id)

    def _ended(self, lane: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._room.release()
        if self._last.get(lane) is task:
            del self._last[lane]


def _refused(error: EdgeError, *, sent: bool) -> Answer:
    """What the edge's no means; `sent`: a token went along."""
    command_id = error.told.get("command_id")
    if error.status in _OURS or error.status >= 500 or error.code in _NOT_OF_A_RULE:
        return Answer("failed", error.code, error.detail, command_id)
    if error.status == 401 and sent:
        return Answer("failed", error.code, "the edge does not know our token: it has another CARAVAN_JWT_SECRET")
    return Answer("rejected", error.code, error.detail, command_id)


# -- the file


@contextmanager
def opened(file: str) -> Iterator[IO[bytes]]:
    """The file, to be read more than once; standard input is kept on disk meanwhile."""
    if file != "-":
        path = Path(file)
        if not path.is_file():
            raise BadInput(f"there is no file {file}; name one, or - for standard input")
        with path.open("rb") as source:
            yield source
        return
    with tempfile.TemporaryFile() as source:
        shutil.copyfileobj(sys.stdin.buffer, source)
        yield source


def check(source: IO[bytes], file: str) -> int:
    """Read all of it; how many commands there are. Raises BadInput with the numbers of the lines that are none."""
    bad = count = 0
    for number, raw in _numbered(source):
        try:
            parsed(number, raw)
            count += 1
        except BadInput as error:
            bad += 1
            if bad <= TOLD:
                print(f"{file}:{number}: {error}", file=sys.stderr)
    if bad:
        more = f", of which {TOLD} are shown" if bad > TOLD else ""
        raise BadInput(f"{file} has {bad} bad line{'s' if bad > 1 else ''}{more}; nothing was sent; a line is {FORM}")
    return count


def lines(source: IO[bytes], file: str) -> Iterator[Line]:
    """The commands; the file was checked."""
    for number, raw in _numbered(source):
        try:
            yield parsed(number, raw)
        except BadInput as error:
            raise BadInput(f"{file}:{number}: {error}; the file has changed while it was sent") from error


def _numbered(source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    source.seek(0)
    for number, raw in enumerate(source, 1):
        if raw.strip():
            yield number, raw


def parsed(number: int, raw: bytes) -> Line:
    """One line; raises BadInput. Whether `data` is right is for the edge to say."""
    try:
        told = json.loads(raw)
    except ValueError as error:
        raise BadInput(f"not JSON: {error}") from None
    if not isinstance(told, dict) or not {"command", "id", "data"} <= set(told) <= {"command", "id", "as", "data"}:
        raise BadInput('a command has "command", "id", "as" and "data", and nothing else')
    if not isinstance(told["data"], dict):
        raise BadInput('"data" is an object: the fields of the command')
    user, role = _issuer(told.get("as"))
    return Line(number, _contract(told["command"]), _id(told["id"]), user, role, told["data"])


def _contract(name: object) -> type[Command]:
    found = _contracts().get(str(name))
    if found is None:
        raise BadInput(f'there is no command "{name}"; write DOMAIN.COMMAND, as in points.award_points')
    if not found.roles:
        raise BadInput(f'"{name}" is a command that only services may issue')
    return found


@lru_cache(1)
def _contracts() -> dict[str, type[Command]]:
    topics = [discover.topic(domain) for domain in discover.domains()]
    return {f"{topic.domain}.{name}": command for topic in topics for name, command in topic.commands.items()}


def _id(told: object) -> str:
    try:
        return str(UUID(str(told)))
    except ValueError:
        raise BadInput(f'"id" is a UUID, not {json.dumps(told)}') from None


def _issuer(told: object) -> tuple[str | None, str]:
    if told is None:
        return None, "Guest"
    if not isinstance(told, dict) or set(told) != {"user", "role"} or told["role"] not in ROLES:
        raise BadInput(f'"as" is {{"user": …, "role": …}} with one of the roles {", ".join(ROLES)}, or null for nobody')
    user = told["user"]
    if not isinstance(user, str) or not 0 < len(user) <= 128 or not user.isascii() or not user.isprintable():
        raise BadInput('"user" is the id of a user: 1 to 128 visible ASCII characters')
    return user, told["role"]


# -- what is shown


def _url_of(folder: Path) -> str:
    instance = Instance(folder)
    if instance.exists() and instance.run.port:
        return instance.run.url
    raise NotRunning("no edge is known here: start one with `caravan up`, or name it with --url")


@contextmanager
def _bar(count: int) -> Iterator[Callable[[], None]]:
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sending", total=count)
        yield lambda: bar.advance(task)


@contextmanager
def _written(path: Path | None) -> Iterator[Callable[[Line, Answer], None]]:
    if path is None:
        yield lambda _line, _answer: None
        return
    with path.open("w") as out:

        def write(line: Line, answer: Answer) -> None:
            told = {"line": line.number, "id": line.id, "command_id": answer.command_id, "status": answer.status}
            out.write(json.dumps({**told, "code": answer.code}) + "\n")

        yield write


def _show(tally: Tally, took: float) -> None:
    rows = [("accepted", tally.accepted), ("rejected", tally.rejected.total())]
    rows += [(f"  {code}", count) for code, count in sorted(tally.rejected.items(), key=lambda row: (-row[1], row[0]))]
    rows += [("failed", tally.failed.total())]
    rows += [(f"  {code}", count) for code, count in sorted(tally.failed.items(), key=lambda row: (-row[1], row[0]))]
    wide, digits = max(len(name) for name, _ in rows), max(len(str(count)) for _, count in rows)
    for name, count in rows:
        print(f"{name:<{wide}}  {count:>{digits}}")
    if tally.total:
        print(f"{tally.total} commands in {took:.1f} s ({tally.total / took:.0f}/s)", file=sys.stderr)
    if failed := tally.failed.total():
        for words in tally.examples:
            print(words, file=sys.stderr)
        raise SomeFailed(f"{failed} of {tally.total} commands failed; send the file again: it changes nothing twice")
