"""The contract of a domain's own checks, in `agents/<domain>/audit.py`: what must add up in its tables, whatever happened.

A check is one query that returns the rows that are wrong, so none on a healthy platform. `caravan audit` runs it on one snapshot that can
only be read; its name is the name of what it finds, the first line of its docstring says what must hold, and `mend` what to do::

    @check(mend="Rebuild the view from its events.")
    async def balance_is_its_ledger(db: Db) -> list[Any]:
        \"\"\"What each user has is what came in less what went out.\"\"\"
        return await db.fetch("SELECT ... LIMIT 100")
"""

from collections.abc import Awaitable, Callable
from typing import Any

from streams.errors import ContractError
from streams.view import Db

Check = Callable[[Db], Awaitable[list[Any]]]


def check(*, mend: str) -> Callable[[Check], Check]:
    """Declare a query function as a check; raises ContractError where nothing says what must hold."""

    def declare(function: Check) -> Check:
        if not function.__doc__:
            raise ContractError(f"{function.__name__}: say in its docstring what must hold.")
        function.__mend__ = mend  # type: ignore[attr-defined]
        return function

    return declare
