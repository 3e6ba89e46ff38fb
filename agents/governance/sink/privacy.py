"""Rows of privacy."""

from collections.abc import Mapping
from typing import Any

from agents.governance.sink.row import Row

PRIVACY: Mapping[type[Any], Row] = {}
