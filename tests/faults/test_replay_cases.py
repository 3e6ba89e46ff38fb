"""What operators replay for: a new view, a repaired projection, a lost table, rows from some time on, rows made of other domains' events; and a replay that is killed."""

import re
from pathlib import Path

import pytest

from tests.faults.ground import Ground
from tests.faults.load import USERS, awards, orders
from tests.faults.outside import until
from tests.faults.replays import begin, built, ended, oid, planted, replay, rows, schemas
from tests.faults.report import Figures

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]
TABLES = "ledger", "balance", "expiring", "state", "timers"

WRONG = {"agents/points/sink.py": ("account.available, account.held)", "account.available, 2 * account.held)")}
PROJECT = "def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:"
SEEN = '''@rows("seen", key=("user_id",))
class SeenRow(NamedTuple):
    user_id: str
    seq: int


def project(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:
    """What there was, and when the user was seen."""
    return *moved(fact, state), SeenRow(fact.key, fact.seq)


def moved(fact: Fact[Any], state: Mapping[str, Any]) -> Iterable[Any]:'''
EARNED = """
from topics.points import POINTS, PointsAwarded
from streams.agent import Projection
from agents.promotions.sink import EarnedRow


def earned(fact, state):
    return [EarnedRow(fact.event_id, fact.key, fact.event.amount)] if isinstance(fact.event, PointsAwarded) else []


EARNED = Projection("earned", POINTS, PROMOTIONS, earned)
"""
EARNED_ROW = """
@rows("earned")
class EarnedRow(NamedTuple):
    event_id: str
    user_id: str
    amount: int


def project("""


async def test_a_new_view_gets_rows_of_the_old_events(ground: Ground, tmp_path: Path) -> None:
    """The new code writes its table from now on, and the replay what came before."""
    old = await ground.worker()
    await ground.load.send(awards(USERS, 80))
    await ground.settle()
    assert await old.leave() == 0
    schema = {
        "agents/points/schema/0009_seen.sql": "CREATE TABLE seen (user_id text PRIMARY KEY, seq bigint NOT NULL);"
    }
    code = planted(tmp_path / "newer", {"agents/points/sink.py": (PROJECT, SEEN)}, schema)
    status, said = await ended(ground, begin(ground, "migrate", code=code))
    assert status == 0, said
    await ground.worker(code=code)
    await ground.load.send(awards(USERS[:10], 10))
    await ground.settle()
    assert (await rows(ground, "seen")).total() == 10

    status, said = await replay(ground, "--views", "seen", code=code)
    assert (status, said.count("missing u")) == (1, 20), said  # of 30; what is shown is bounded
    assert "30 missing" in said
    assert "and 10 more" in said
    status, said = await replay(ground, "--swap", code=code)
    assert (status, "nobody accepted the diff" in said) == (2, True), said
    status, said = await replay(ground, "--swap", "--accept-diff", diff_in(said), code=code)
    assert status == 0, said
    await ground.load.send(awards(USERS[20:30], 10))
    await ground.settle()

    expected = await ground.outside.rows("SELECT user_id, max(seq) FROM ledger GROUP BY 1 ORDER BY 1")
    assert len(expected) == 40
    assert await ground.outside.rows("SELECT user_id, seq FROM seen ORDER BY 1") == expected
    assert await ground.broken() == []


async def test_a_repaired_projection_is_swapped_in_once_its_diff_is_accepted(ground: Ground, tmp_path: Path) -> None:
    """What was reviewed is what is accepted; after the swap the rows are those of the repaired code, and back they are not."""
    ill = await ground.worker(code=planted(tmp_path / "ill", WRONG))
    await ground.load.send(orders(3, 400))
    await ground.settle()
    assert await ill.leave() == 0
    await ground.worker()
    wrong = await rows(ground, "balance")

    status, said = await replay(ground)
    assert status == 1, said
    shown = re.search(r"changed (u\d+): held is (\d+), the events make (\d+)", said)
    assert shown, said
    assert int(shown[2]) == 2 * int(shown[3])
    assert "ledger" in said
    diff = diff_in(said)
    status, said = await replay(ground, "--swap", "--accept-diff", "0123456789ab")
    assert (status, f"that is not the diff {diff}" in said) == (2, True), said
    assert await rows(ground, "balance") == wrong
    status, said = await replay(ground, "--swap", "--accept-diff", diff)
    assert status == 0, said
    right = await rows(ground, "balance")
    assert right != wrong
    assert await rows(ground, "balance", "_shadow") == wrong
    await ground.load.send(orders(4, 100))
    await ground.settle()

    status, said = await replay(ground, "--swap-back")
    assert status == 0, said
    status, said = await replay(ground, "--swap")
    assert status == 0, said
    status, said = await replay(ground, "--abort")
    assert (status, await schemas(ground) & {"points_shadow"}) == (0, set()), said
    assert await ground.broken() == []


async def test_a_lost_table_is_there_again(ground: Ground) -> None:
    """Dropped while commands come: writers try again until it is put in place, and nothing is missing in it; a worker that began without it goes on as well."""
    await ground.worker()
    await ground.load.send(orders(5, 300))
    async with ground.load.steady(950):
        await ground.goes_on()
        await ground.outside.execute("DROP TABLE balance")
        await ground.worker()
        status, said = await replay(ground)
        assert status == 0, said
        assert "balance is lost, and put in place by the swap" in said
        assert (await oid(ground, "balance")) is None
        status, said = await replay(ground, "--swap")
        assert (status, "balance was lost and is there again" in said) == (0, True), said
        await ground.goes_on()
    await ground.settle()
    status, said = await replay(ground, "--swap-back")
    assert (status, "there was no balance before the swap" in said) == (2, True), said

    assert await ground.outside.rows("SELECT FROM parked") == []
    assert await ground.broken() == []


async def test_rows_from_some_offsets_on_are_made_anew(ground: Ground) -> None:
    """Older ones are taken over as they are."""
    await ground.worker()
    await ground.load.send(orders(6, 200))
    await ground.settle()
    ends = await ground.outside.ends("points.events")
    await ground.load.send(orders(7, 200))
    await ground.settle()
    true = await rows(ground, "ledger")
    await ground.outside.execute("CREATE TABLE kept AS TABLE ledger")
    deleted = "DELETE FROM ledger WHERE at > (SELECT max(at) - interval '1 ms' FROM ledger)"
    await ground.outside.execute(deleted)
    gone = true.total() - (await rows(ground, "ledger")).total()
    assert gone > 0

    offsets = ",".join(f"{n}:{end}" for n, end in ends.items())
    status, said = await replay(ground, "--views", "ledger", "--from", offsets)
    assert (status, f"{gone} missing" in said) == (1, True), said
    taken = re.search(r"(\d+) older rows taken over", said)
    assert taken, said
    assert 0 < int(taken[1]) < true.total() - gone
    status, said = await replay(ground, "--views", "ledger", "--from", "10m")
    assert (status, "go on with that, or end it with --abort" in said) == (2, True), said
    status, said = await replay(
        ground, "--swap", "--accept-diff", diff_in(said) if "diff" in said else await known_diff(ground)
    )
    assert status == 0, said
    assert await rows(ground, "ledger") == true
    await ground.outside.execute("DROP TABLE kept")
    assert await ground.broken() == []


async def test_rows_made_of_another_domains_events_are_replayed_alike(ground: Ground, tmp_path: Path) -> None:
    """A projection never folds further than the live one, so both stand at the same numbers; its traffic goes on."""
    changes = {
        "agents/promotions/sink.py": ("\ndef project(", EARNED_ROW),
        "agents/promotions/agent.py": ("PROMOTIONS_DECIDER = ", EARNED + "\nPROMOTIONS_DECIDER = "),
    }
    table = "CREATE TABLE earned (event_id text PRIMARY KEY, user_id text NOT NULL, amount bigint NOT NULL);"
    code = planted(tmp_path / "code", changes, {"agents/promotions/schema/0009_earned.sql": table})
    await ground.worker()
    status, said = await ended(ground, begin(ground, "migrate", code=code))
    assert status == 0, said
    other = ground.start_worker("--domains", "promotions", code=code)
    await other.said("worker ready: promotions")
    async with ground.load.steady(960):
        await ground.goes_on()
        status, said = await replay(ground, "--views", "earned", code=code, domain="promotions")
        assert status == 0, said
        status, said = await replay(ground, "--swap", code=code, domain="promotions")
        assert status == 0, said
        await ground.goes_on()
    await ground.settle()

    async def all_there() -> bool:
        query = "SELECT (SELECT coalesce(sum(amount), 0) FROM ledger WHERE kind = 'awarded') = coalesce(sum(amount), 0) AND sum(amount) > 0 FROM {}"
        return bool((await ground.outside.rows(query.format(f'"{ground.settings.namespace}promotions".earned')))[0][0])

    await until(all_there, "the projection has all awards")
    assert await ground.broken() == []


@pytest.mark.scenario("S11")
@pytest.mark.parametrize("moment", ["building", "comparing", "waiting for readers", "writing down the swap"])
async def test_killed_at_any_point_the_same_command_goes_on(ground: Ground, figures: Figures, moment: str) -> None:
    """And what it had not finished is as if it had never begun."""
    await ground.worker()
    for user in USERS:
        await ground.load.heap(user, 200)
    await ground.settle()
    before, tables = await oid(ground, "balance"), {name: await rows(ground, name) for name in TABLES}
    shadow = f'"{ground.settings.namespace}points_shadow"'
    if moment == "building":
        command = begin(ground, "replay", "points", "--rate", "1500")
        await until(lambda: built(ground), "it builds")
        await kill(ground, command)
        assert 0 < await built(ground) < 8000
    elif moment == "comparing":
        async with ground.outside.pool.acquire() as db, db.transaction():
            await db.execute("LOCK TABLE expiring IN ACCESS EXCLUSIVE MODE")
            command = begin(ground, "replay", "points")
            await until(lambda: waits(ground, "expiring"), "it compares")
            await kill(ground, command)
    status, said = await replay(ground)
    assert status == 0, said
    if moment in ("waiting for readers", "writing down the swap"):
        lock = "balance" if moment == "waiting for readers" else f"{shadow}.caravan_replay"
        mode = "ACCESS SHARE" if moment == "waiting for readers" else "SHARE"
        async with ground.outside.pool.acquire() as db, db.transaction():
            await db.execute(f"LOCK TABLE {lock} IN {mode} MODE")
            command = begin(ground, "replay", "points", "--swap")
            await until(lambda: waits(ground, lock.rpartition(".")[2]), "the swap waits")
            await kill(ground, command)
    assert await oid(ground, "balance") == before
    await ground.load.send(orders(8, 50))
    await ground.settle()
    status, said = await replay(ground, "--swap")
    assert status == 0, said
    assert await oid(ground, "balance") != before
    assert {name: await rows(ground, name) for name in TABLES} == {
        name: await rows(ground, name, "_shadow") for name in TABLES
    }
    assert {name: found for name, found in tables.items() if found.total() > (await rows(ground, name)).total()} == {}
    await ground.load.send(orders(9, 50))
    await ground.settle()
    figures.note(faults=1, **await ground.account())
    assert await ground.broken() == []


async def kill(ground: Ground, command: object) -> None:
    """End it without a chance to tidy up."""
    command.kill()  # type: ignore[attr-defined]
    ground.workers.remove(command)  # type: ignore[arg-type]


async def waits(ground: Ground, table: str) -> bool:
    """Whether somebody waits for a lock on a table of this name."""
    query = "SELECT FROM pg_locks JOIN pg_class c ON c.oid = relation JOIN pg_namespace n ON n.oid = relnamespace WHERE NOT granted AND relname = $1 AND starts_with(nspname, $2)"
    return bool(await ground.outside.rows(query, table, ground.settings.namespace))


def diff_in(said: str) -> str:
    """The mark of the diff that was told."""
    found = re.search(r"diff ([0-9a-f]{12})", said)
    assert found, said
    return found[1]


async def known_diff(ground: Ground) -> str:
    """The mark of the diff that the status tells."""
    return diff_in((await replay(ground, "--status"))[1])


async def test_what_something_else_has_built_beside_is_not_gone_on_with(ground: Ground) -> None:
    """Nobody knows of what code it is; it can be dropped."""
    await ground.worker()
    await ground.load.send(orders(11, 100))
    await ground.settle()
    other = ground.start_worker("--rebuild", "points")
    await until(lambda: built(ground), "it builds")
    assert await other.leave() == 0
    status, said = await replay(ground)
    assert (status, "was built by something else" in said) == (2, True), said
    assert (await replay(ground, "--abort"))[0] == 0
    status, said = await replay(ground)
    assert status == 0, said
