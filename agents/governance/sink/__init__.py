"""Rows of governance: each concern says which of its events leave which."""

from collections.abc import Iterable, Mapping
from typing import Any

from agents.governance.sink.cases import CASES
from agents.governance.sink.kyc import KYC
from agents.governance.sink.privacy import PRIVACY
from agents.governance.sink.row import Row
from agents.governance.sink.sanctions import SANCTIONS
from streams.sink import Fact

_ROWS: Mapping[type[Any], Row] = {**CASES, **SANCTIONS, **PRIVACY, **KYC}


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """The rows that an event leaves."""
    row = _ROWS.get(type(fact.event))
    return row(fact, state) if row else ()
