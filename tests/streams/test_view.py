"""Views: readers are declared, and cursors are opaque and checked."""

import base64
import json

import pytest

from streams.envelope import Actor
from streams.errors import ContractError
from streams.view import BadCursor, Db, Paging, view


def test_pages_follow_each_other_to_the_end() -> None:
    items, cursor, seen = list(range(7)), None, []
    for _ in range(3):
        paging = Paging.read(cursor, 3)
        rest = [item for item in items if paging.after is None or item > paging.after]
        page = paging.page(rest[: paging.limit + 1], lambda item: item)
        seen.append(page.items)
        cursor = page.next
    assert seen == [[0, 1, 2], [3, 4, 5], [6]]
    assert cursor is None


def test_an_empty_list_is_one_page() -> None:
    page = Paging.read(None, 5).page([], lambda item: item)
    assert (page.items, page.next) == ([], None)


NESTED = base64.urlsafe_b64encode(b"[" * 100_000).decode()


@pytest.mark.parametrize(
    "cursor", ["", "!", "abc", "\ud800", base64.b64encode(b"\xff").decode(), "bm90IGpzb24=", NESTED]
)
def test_a_cursor_of_anybody_else_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor, match="ask again without it"):
        Paging.read(cursor, 5)


def test_a_cursor_carries_any_json() -> None:
    cursor = Paging(None, 1).page([1, 2], lambda item: [item, "ä"]).next
    assert cursor is not None
    assert json.loads(base64.urlsafe_b64decode(cursor)) == [1, "ä"]
    assert Paging.read(cursor, 1).after == [1, "ä"]


def test_who_may_read() -> None:
    @view(roles=("User",), owner="user_id", services=("orders",))
    async def balance(db: Db, user_id: str) -> None: ...

    readers = balance.__readers__  # type: ignore[attr-defined]
    asked = {"user_id": "u1"}
    assert readers.admit(Actor("user", "u1", "VIP"), asked)
    assert readers.admit(Actor("user", "root", "Admin"), asked)
    assert readers.admit(Actor("service", "orders"), asked)
    assert not readers.admit(Actor("user", "u2", "VIP"), asked)
    assert not readers.admit(Actor("guest", "u1", "Guest"), asked)
    assert not readers.admit(Actor("service", "quests", "Admin"), asked)


def test_a_view_without_readers_is_refused() -> None:
    with pytest.raises(ContractError, match="without readers"):
        view()
    with pytest.raises(ContractError, match="Unknown role 'King'"):
        view(roles=("King",))
