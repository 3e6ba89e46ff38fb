"""Ids carry their time, are ordered by it, and derived ones are the same on every run."""

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from streams.ids import derived, derived_text, milliseconds, uuid7

times = st.integers(0, (1 << 48) - 1)
words = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@given(times)
def test_a_fresh_id_is_of_its_time(at: int) -> None:
    made = uuid7(at)
    assert (made.version, made.variant, milliseconds(made)) == (7, RFC_4122, at)
    assert made != uuid7(at)


@given(times, words, words, words, st.integers(0, 99))
def test_a_derived_id_is_of_its_causes_time_and_the_same_again(at: int, name: str, kind: str, key: str, n: int) -> None:
    cause = uuid7(at)
    made = derived(cause, name, kind, key, n)
    assert (made.version, made.variant, milliseconds(made)) == (8, RFC_4122, at)
    assert made == derived(cause, name, kind, key, n)
    assert str(made) == derived_text(cause, str(cause), name, kind, key, n)


def test_each_part_makes_another_id() -> None:
    cause = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    parts = [(cause, "p", "k", "a", 0), (cause, "q", "k", "a", 0), (cause, "p", "l", "a", 0), (cause, "p", "k", "b", 0),
             (cause, "p", "k", "a", 1), (uuid7(milliseconds(cause)), "p", "k", "a", 0), (cause, "pk", "", "a", 0)]  # fmt: skip
    assert len({derived(*part) for part in parts}) == len(parts)


def test_a_derived_id_never_changes() -> None:
    """Ids of events that exist are derived again in a replay: another recipe would double them."""
    cause = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert str(derived(cause, "award", "add", "u1", 0)) == "01890a5d-ac96-80c9-827e-3e34ee12e9fc"


def test_ids_are_ordered_by_time() -> None:
    made = [uuid7(at) for at in range(0, 1 << 48, 1 << 42)]
    assert made == sorted(made)
