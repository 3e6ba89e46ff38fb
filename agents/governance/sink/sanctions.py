"""Rows of sanctions."""

from collections.abc import Mapping
from typing import Any

from agents.governance.sink.row import Row

SANCTIONS: Mapping[type[Any], Row] = {}
