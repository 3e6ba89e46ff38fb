"""Views: from a query function to a route. Parameters without default are path segments, others come from the query."""

import asyncio
import inspect
import types
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from starlette.requests import Request
from starlette.responses import Response

from api.answer import Answer
from api.auth import refused
from api.edge import Edge
from api.errors import RETRY, Problem, invalid, invalid_fields
from api.personal import may_hold, opened
from api.results import REREAD_S
from api.tokens import Token
from sinks.postgres.moves import Watch
from sinks.postgres.reader import Reader
from streams.contract import permits
from streams.envelope import Actor
from streams.errors import ContractError
from streams.personal import blind_of
from streams.view import MAX_LIMIT, Page, Paging, Readers

WAIT_S = 5.0  # how long a view waits for its token to be covered
MAX_VALUE = 1000  # characters of a parameter
MAX_TOKENS = 32  # in one `after`
PAGES = ("cursor", "limit")
T = TypeVar("T")


class _Paging(BaseModel):
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 50


class Signature:
    """What a view function takes and gives, read once."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        """Raises ContractError for what cannot be served."""
        self.name, self.function = name, function
        self.readers: Readers = function.__readers__  # type: ignore[attr-defined]  # discovery saw to it
        hints = get_type_hints(function, include_extras=True)
        own = [p for p in inspect.signature(function).parameters.values() if p.name != "db"]
        self.paging = next((p.name for p in own if hints.get(p.name) is Paging), None)
        plain = [p for p in own if p.name != self.paging]
        if missing := [p.name for p in plain if p.name not in hints] + ([] if "return" in hints else ["return"]):
            raise ContractError(f"View {name}: annotate {', '.join(missing)}.")
        self.segments = tuple(p.name for p in plain if p.default is p.empty)
        self.model = create_model(
            f"{name}_parameters",
            __config__=ConfigDict(extra="forbid", str_max_length=MAX_VALUE),
            **{p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in plain},  # type: ignore[call-overload]
        )
        self.blind = {p.name: m.kind or p.name for p in plain if (m := blind_of(hints[p.name]))}
        self.query = tuple(p.name for p in plain if p.default is not p.empty)
        if clash := set(self.model.model_fields) & {"after", "cursor", "limit"}:
            raise ContractError(f"View {name}: {min(clash)} is a parameter of the edge; use another name.")
        self.adapter: TypeAdapter[Any] = TypeAdapter(_without_none(hints["return"]))
        self.personal = may_hold(hints["return"])


def _without_none(annotation: Any) -> Any:
    """The type of an answer that is there."""
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        return Union[tuple(kept)]  # noqa: UP007
    return annotation


class View:
    """A view as requests ask for it: who may, with what parameters, and how its answer is told."""

    def __init__(self, edge: Edge, domain: str, signature: Signature) -> None:
        """Serve the view of `domain` that `signature` describes."""
        self.edge, self.domain, self.signature = edge, domain, signature
        self._list = f"cursor of {domain} {signature.name}"

    async def asked(self, request: Request, actor: Actor, pages: Collection[str]) -> dict[str, Any]:
        """The arguments of the query, if this actor may ask it; `pages` are the parameters of paging that may be given."""
        signature = self.signature
        if not permits(signature.readers.roles, actor.role):
            raise refused(actor)
        given = self._parameters(request, pages if signature.paging else ())
        if not signature.readers.admit(actor, given):
            raise Problem("not_found")  # whether it exists is nobody else's business
        given = await self.edge.blinder.hashed(given, signature.blind)
        if signature.paging:
            given[signature.paging] = self._paging(request)
        return given

    def _parameters(self, request: Request, pages: Collection[str]) -> dict[str, Any]:
        signature = self.signature
        asked = dict(zip(signature.segments, request.scope["segments"], strict=True))
        wrong: list[tuple[str, str, str]] = []
        if request.scope["query_string"]:
            query = request.query_params
            known = {*signature.query, "after", *pages}
            wrong += [(f"query.{name}", "extra_forbidden", "unknown parameter") for name in sorted(set(query) - known)]
            wrong += [(f"query.{name}", "repeated", "given twice") for name in query if len(query.getlist(name)) > 1]
            asked |= {name: value for name, value in query.multi_items() if name in signature.query}
        wrong += [(name, "nul", "NUL characters cannot be stored") for name, value in asked.items() if "\0" in value]
        if wrong:
            raise invalid(wrong)
        try:
            model = signature.model.model_validate_strings(asked)
        except ValidationError as error:
            raise invalid_fields(error) from None
        return {name: getattr(model, name) for name in signature.model.model_fields}

    def _paging(self, request: Request) -> Paging:
        if not request.scope["query_string"]:
            return Paging()
        asked = {name: request.query_params[name] for name in PAGES if name in request.query_params}
        try:
            paging = _Paging.model_validate_strings(asked)
        except ValidationError as error:
            raise invalid_fields(error, "query") from None
        if paging.cursor is None:
            return Paging(None, paging.limit)
        # A view trusts the shape of its cursor, so only our own ever reach it.
        if (cursor := self.edge.tokens.unwrap(self._list, paging.cursor)) is None:
            raise Problem("bad_cursor")
        return Paging.read(cursor.decode(), paging.limit)

    def tokens(self, request: Request) -> list[Token]:
        """The tokens that the answer must cover, from `?after=`: one, or several with commas between them."""
        text = request.query_params.get("after") if request.scope["query_string"] else None
        tokens = [] if text is None else [self.edge.tokens.read(one) for one in text.split(",", MAX_TOKENS - 1)]
        for token in tokens:
            if token.domain != self.domain:
                raise Problem("token_of_other_domain", f"It covers views of {token.domain}.")
        return tokens

    async def covering(self, tokens: Sequence[Token], read: Callable[[Reader], Awaitable[T]]) -> T:
        """What `read` finds once all tokens are covered; raises `parked` and `not_yet_applied`."""
        store = self.edge.store
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_S
        with ExitStack() as held:
            watches = [(t, held.enter_context(store.moves.watch(self.domain, t.partition, t.offset))) for t in tokens]
            behind = next((watch for _, watch in watches if watch.early), None)
            while True:
                if behind is None:
                    async with store.db(self.domain) as db:
                        behind = await _behind(db, watches)  # before the view, on the same connection
                        if behind is None:
                            return await read(db)
                if (left := deadline - loop.time()) <= 0 or self.edge.ending:
                    raise Problem("not_yet_applied", headers=RETRY)
                with self.edge.load.aside("read"):
                    told = await behind.next(min(left, REREAD_S))
                # one word may be of one token's place alone; that none came may mean that it was lost
                behind = next((watch for _, watch in watches if watch.early), None) if told else None

    async def query(self, db: Reader, given: dict[str, Any]) -> Any:
        """What the view function finds."""
        return await db.view(self.signature.function, given)

    async def told(self, value: Any) -> bytes:
        """What was found, as JSON, with personal fields opened."""
        adapter = self.signature.adapter
        answer = adapter.validate_python(value, from_attributes=True)
        if self.signature.personal:
            answer = await opened(self.edge.store, answer)
        if isinstance(answer, Page) and answer.next is not None:
            answer.next = self.edge.tokens.wrap(self._list, answer.next.encode())
        return adapter.dump_json(answer, warnings="none")


async def _behind(db: Reader, watches: Sequence[tuple[Token, Watch]]) -> Watch | None:
    """What to wait for until the tokens are covered, None when they are; raises `parked`."""
    for token, watch in watches:
        stand = await db.stand(token.partition, token.offset)
        if stand.parked:
            raise Problem("parked")
        if stand.next <= token.offset:
            return watch
    return None


class Show:
    """The endpoint of one view."""

    def __init__(self, view: View) -> None:
        """Serve `view`."""
        self._view = view

    async def __call__(self, request: Request) -> Response:
        """The view as it stands, covering the tokens that are given."""
        view = self._view
        given = await view.asked(request, view.edge.auth.actor(request), PAGES)
        if tokens := view.tokens(request):
            value = await view.covering(tokens, lambda db: view.query(db, given))
        else:
            async with view.edge.store.db(view.domain) as db:
                value = await view.query(db, given)
        if value is None:
            raise Problem("not_found")
        return Answer(await view.told(value))


def out_of_range() -> Problem:
    """A parameter that Postgres cannot take, such as an integer beyond 64 bits."""
    return invalid([("$", "out_of_range", "a value is beyond what can be stored")])
