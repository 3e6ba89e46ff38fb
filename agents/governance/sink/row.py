"""What a row of governance is made from."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from streams.sink import Fact

Row = Callable[[Fact[Any], Mapping[str, Any]], Iterable[Any]]
"""The rows of an event, by the state after it (`streams.sink.Project`)."""
