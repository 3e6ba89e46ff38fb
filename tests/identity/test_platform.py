"""Registrations through real processes: an edge and a worker, several clients at the same moment."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.envelope import decode_event
from streams.kafka import Kafka
from streams.settings import Settings
from tests.acceptance.workers import until
from tests.processes import Processes, running
from topics.identity import IDENTITY

REGISTER = "identity/register_user"


class Platform(Processes):
    """An edge and a worker for identity."""

    domains = "identity"

    async def together(self, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
        """Register all of these at once, spread over the clients."""
        return await asyncio.gather(*(self.send(REGISTER, body) for body in bodies))

    async def told(self) -> Counter[tuple[str, str]]:
        """How often each type of event was told of each key."""
        kafka = Kafka(self.settings)
        found: Counter[tuple[str, str]] = Counter()
        for partition in range(IDENTITY.partitions):
            _, end = await kafka.bounds(IDENTITY.events_topic, partition)
            for offset in range(end):
                if record := await kafka.read(IDENTITY.events_topic, partition, offset):
                    envelope = decode_event(record.value)
                    found[envelope.type, envelope.aggregate_id] += 1
        await kafka.stop()
        return found


@pytest.fixture
async def platform(settings: Settings, free_port: int, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform, ready."""
    async with running(Platform, settings, free_port, tmp_path) as platform:
        yield platform


CONTESTED, RIVALS = 6, 5  # logins that several want, and how many want each


def wanting_an_address(n: int, rival: int) -> dict[str, Any]:
    """A registration with a contested address, in one of two ways to write it, and a number of one's own."""
    address = f"Both{n}@EXAMPLE.com" if rival % 2 else f"both{n}@example.com"
    return {"user_id": f"address-{n}-{rival}", "email": address, "phone": f"+49309018{n}{rival}"}


def wanting_a_number(n: int, rival: int) -> dict[str, Any]:
    """A registration with an address of one's own, and a contested number in one of two ways to write it."""
    number = f"+49 (30) 90282{n}" if rival % 2 else f"+493090282{n}"
    return {"user_id": f"number-{n}-{rival}", "email": f"own-{n}-{rival}@example.com", "phone": number}


@pytest.mark.req("SR056")
@pytest.mark.req("SR115")
async def test_of_all_who_want_a_login_at_once_one_becomes_its_user(platform: Platform) -> None:
    """The others are told so, and what they had claimed already is free again; each user is told of once."""
    pairs = [(n, rival) for n in range(CONTESTED) for rival in range(RIVALS)]
    bodies = [want(n, rival) for n, rival in pairs for want in (wanting_an_address, wanting_a_number)]
    twice = [body for body in bodies for _ in range(2)]
    answers = await platform.together(twice)

    winners: set[str] = set()
    of: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    for body, answer in zip(twice, answers, strict=True):
        if answer.status_code == 200:
            assert body["user_id"] not in winners
            winners.add(body["user_id"])
            of[body["user_id"].rpartition("-")[0]] += 1
        else:
            assert answer.status_code == 409, answer.text
            codes[answer.json()["code"]] += 1
    assert of == Counter([f"{kind}-{n}" for kind in ("address", "number") for n in range(CONTESTED)])
    assert codes.keys() <= {"login_taken", "user_exists", "registration_in_progress"}
    assert codes["login_taken"] >= len(bodies) - len(winners)

    async def released() -> bool:
        held = await platform.rows("identity", "SELECT user_id FROM login WHERE user_id IS NOT NULL")
        return {user for (user,) in held} <= winners

    await until(released)
    again = [{"user_id": b["user_id"], "email": b["email"]} for b in bodies if b["user_id"].startswith("number")]
    again = [body for body in again if body["user_id"] not in winners]
    assert {answer.status_code for answer in await platform.together(again)} == {200}

    users = sorted([*winners, *(body["user_id"] for body in again)])
    told = await platform.told()
    assert {user: told["user_registered", user] for user in users} == dict.fromkeys(users, 1)
    assert sum(count for (kind, _), count in told.items() if kind == "user_registered") == len(users)
    assert await platform.rows("identity", 'SELECT user_id FROM profile ORDER BY user_id COLLATE "C"') == [
        (u,) for u in users
    ]
    await platform.rebuilds("identity", ("profile", "login"))


@pytest.mark.req("SR115")
async def test_a_user_registers_is_found_and_changes_their_profile(platform: Platform) -> None:
    """Bad fields are listed; what is personal is shown to the user and to Admins, and stored sealed."""
    bad = await platform.send(REGISTER, {"user_id": "a b", "email": "ann", "phone": "030 901820", "colour": "red"})
    assert bad.status_code == 422
    assert {error["field"] for error in bad.json()["errors"]} == {"user_id", "email", "phone", "colour"}

    ann = {"user_id": "ann", "email": "Ann@Example.com", "phone": "+49 30 901820", "display_name": "Ann"}
    assert (await platform.send(REGISTER, ann | {"referral_code": "none such"})).json()["status"] == "accepted"
    taken = await platform.send(REGISTER, {"user_id": "bob", "phone": "+49(30)901820"})
    assert (taken.status_code, taken.json()["code"]) == (409, "login_taken")
    assert (await platform.send(REGISTER, {"user_id": "ann", "email": "new@example.com"})).json()[
        "code"
    ] == "user_exists"

    update = "identity/update_profile"
    assert (await platform.send(update, {"user_id": "ann", "bio": "Runs."}, "bob")).status_code == 403
    assert (await platform.send(update, {"user_id": "ann", "time_zone": "Mars"}, "ann")).status_code == 422
    assert (await platform.send(update, {"user_id": "bob", "bio": "b"}, "bob")).json()["code"] == "user_not_found"
    changed = {"user_id": "ann", "bio": "Runs.", "time_zone": "Europe/Berlin", "language": "de"}
    assert (await platform.send(update, changed, "ann")).status_code == 200

    profile = "identity/user_profile/ann"
    shown = (await platform.get(profile, "ann")).json()
    normal = {"email": "Ann@example.com", "phone": "+4930901820", "display_name": "Ann"}
    assert normal.items() | changed.items() <= shown.items()
    assert (await platform.get(profile, "root/Admin")).json() == shown
    assert (await platform.get(profile, "bob")).status_code == 404
    sealed = await platform.rows("identity", "SELECT email, phone, display_name, bio FROM profile")
    assert all(text.startswith("enc1.") for text in sealed[0])

    for login, kind in (("ann@EXAMPLE.com", "email"), ("+49 30 901820", "phone")):
        found = await platform.get(f"identity/users_by_login/{login}", "root/Admin")
        assert found.status_code == 200, found.text
        assert (found.json()["user_id"], found.json()["kind"]) == ("ann", kind)
        assert (await platform.get(f"identity/users_by_login/{login}", "ann")).status_code == 403
    assert (await platform.get("identity/users_by_login/new@example.com", "root/Admin")).status_code == 404
