"""What a view is asked: from its function, called as it is declared but without `db`, to a path, a query and the type of the answer."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import quote

from pydantic import TypeAdapter

from streams.view import Paging

T = TypeVar("T")
Function = Callable[..., Awaitable[Any]]


class Read(NamedTuple):
    """A view with its arguments: `about` are those that were given, by name."""

    domain: str
    path: str
    query: dict[str, str]
    about: Mapping[str, Any]
    answer: TypeAdapter[Any]


class Named(Generic[T]):
    """A view that is known by its path and the type of its answer alone, for whoever lacks the platform's code::

        OPEN = Named("invoices/open/{customer_id}", Page[Invoice])

    Arguments that the path does not name go into the query; `paging` is a list's part.
    """

    def __init__(self, path: str, answer: type[T]) -> None:
        """`path` is what follows `/v1/`."""
        self.path, self.adapter = path.strip("/"), TypeAdapter[Any](answer)
        self.segments = tuple(re.findall(r"\{(\w+)\}", path))

    async def __call__(self, _db: Any, /, **_arguments: Any) -> T:
        """As a view function looks; it is never called."""
        raise TypeError("hand it to a client: await client.view(...)")


def read(view: Function, given: tuple[Any, ...], named: Mapping[str, Any]) -> Read:
    """A view with its arguments. Raises TypeError where they are not those that it takes."""
    if isinstance(view, Named):
        if given:
            raise TypeError("its arguments are given by name")
        return _read(view.path, view.segments, view.adapter, dict(named))
    path, segments, adapter, signature = _shape(view)
    return _read(path, segments, adapter, signature.bind(*given, **named).arguments)


def _read(path: str, segments: tuple[str, ...], adapter: TypeAdapter[Any], about: dict[str, Any]) -> Read:
    query: dict[str, str] = {}
    for name, value in about.items():
        if isinstance(value, Paging):
            query["limit"] = str(value.limit)
            query |= {"cursor": value.after} if value.after is not None else {}
        elif name not in segments and value is not None:
            query[name] = _text(value)
    if missing := [name for name in segments if name not in about]:
        raise TypeError(f"missing a required argument: {', '.join(missing)}")
    filled = re.sub(r"\{(\w+)\}", lambda found: _segment(found[1], about[found[1]]), path)
    return Read(path.partition("/")[0], f"/v1/{filled}", query, about, adapter)


@lru_cache(1024)
def _shape(view: Function) -> tuple[str, tuple[str, ...], TypeAdapter[Any], inspect.Signature]:
    package, domain, *_ = [*view.__module__.split("."), ""]
    if package != "agents" or not hasattr(view, "__readers__"):
        raise TypeError(
            f"{view.__module__}.{view.__qualname__} is no view of a domain; name one with Named(path, type)"
        )
    hints = get_type_hints(view, include_extras=True)
    own = [p for p in inspect.signature(view).parameters.values() if p.name != "db"]
    segments = tuple(p.name for p in own if p.default is p.empty and hints[p.name] is not Paging)
    path = "/".join([domain, view.__name__, *(f"{{{name}}}" for name in segments)])
    return path, segments, TypeAdapter(_there(hints["return"])), inspect.Signature(own)


def _there(annotation: Any) -> Any:
    """The type of an answer that is there."""
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(part for part in get_args(annotation) if part is not type(None))]  # noqa: UP007
    return annotation


def _segment(name: str, value: object) -> str:
    if not (text := _text(value)):
        raise ValueError(f"{name} is empty, and stands in the path")
    return quote(text, safe="")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value.value if isinstance(value, Enum) else value)
