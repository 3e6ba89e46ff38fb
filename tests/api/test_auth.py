"""Who calls and what they may: bearer tokens, roles, ownership."""

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import replace

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request

from api import auth as auths
from api.app import Served, create_app
from api.auth import Authenticator
from streams.contract import ROLES, permits
from streams.errors import SettingsError
from streams.settings import Settings
from tests.api.caller import Caller, running, token
from tests.api.conftest import ALL
from tests.api.routes import COMMANDS, VIEWS, owner_of

AWARD, BODY = "/v1/points/award_points", {"user_id": "u1", "amount": 5}


@pytest.fixture
def serves() -> Sequence[Served]:
    """Every domain."""
    return ALL


def _unsigned(claims: dict[str, object], algorithm: str = "none") -> str:
    parts = ({"alg": algorithm, "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."


def _bad_tokens(settings: Settings) -> list[str]:
    now = int(time.time())
    good = {"sub": "root", "role": "Admin", "aud": "caravan", "iss": "caravan", "exp": now + 600}
    secret = settings.jwt_secret or ""
    wrong = [
        token(settings, "root", "Admin", **change)
        for change in (
            {"exp": now - 1}, {"exp": None}, {"exp": "soon"}, {"aud": "other"}, {"aud": None}, {"iss": "other"}, {"iss": None},
            {"sub": None}, {"sub": 5}, {"sub": ""}, {"sub": "x" * 129}, {"sub": "a\0b"}, {"sub": "a b"}, {"role": "Root"},
            {"role": None}, {"role": ["Admin"]}, {"nbf": now + 600}, {"iat": now + 600},
        )
    ]  # fmt: skip
    deep = base64.urlsafe_b64encode(b"[" * 5000).decode()
    return [
        *wrong,
        _unsigned(good),
        _unsigned(good, "HS256"),
        _unsigned(good, "None"),
        jwt.encode(good, "another secret, of the same length as ours", "HS256"),
        jwt.encode(good, secret * 2, "HS512"),
        jwt.encode(good, secret, "HS256")[:-3],
        "",
        "x",
        "a.b.c",
        "....",
        f"{deep}.{deep}.x",
        "x" * 20_000,
        "\xff\xfe",
    ]


async def test_every_bad_token_gets_the_same_401(edge: Caller) -> None:
    """As nobody does; nothing is published."""
    before = await edge.ends()
    nobody = await edge.post(AWARD, BODY)
    assert nobody.status_code == 401
    headers = [{"Authorization": f"Bearer {bad}"} for bad in _bad_tokens(edge.settings)]
    headers += [
        {"Authorization": value}
        for value in ("", "Basic cm9vdDpyb290", "Bearer", token(edge.settings, "root", "Admin"))
    ]
    for header in headers:
        raw = httpx.Headers(header, encoding="latin-1")
        answer = await edge.client.post(AWARD, json=BODY, headers=raw)
        assert (answer.status_code, answer.content) == (401, nobody.content), header
        assert answer.headers["www-authenticate"] == nobody.headers["www-authenticate"]
        status = await edge.client.get("/v1/lab/samples", headers=raw)
        assert status.status_code == 401  # also where Guests are welcome
    assert await edge.ends() == before


async def _asked(edge: Caller, header: dict[str, str]) -> int:
    return (await edge.client.get("/v1/points/statement/u1", headers=header)).status_code


async def test_a_token_ends_when_it_expires(edge: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was accepted is not remembered longer than that."""
    header = edge.headers("u1")
    assert await _asked(edge, header) == 200
    assert edge.app is not None
    auth: Authenticator = edge.app.state.edge.auth
    verified: list[str] = []
    monkeypatch.setattr(auth, "_verify", verified.append)
    assert await _asked(edge, header) == 200, "it is remembered"
    assert not verified

    later = time.time() + 601
    monkeypatch.setattr(time, "time", lambda: later)

    assert auth._known(header["Authorization"].encode()) is None


async def test_a_key_that_is_withdrawn_ends_its_tokens_at_once(edge: Caller) -> None:
    """Those, too, that were verified before."""
    header = edge.headers("u1")
    assert await _asked(edge, header) == 200
    assert edge.app is not None
    edge.app.state.edge.auth.withdraw("HS256")
    assert await _asked(edge, header) == 401


def test_what_is_remembered_of_tokens_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first; a long token is verified each time."""
    monkeypatch.setattr(auths, "_CACHED", 2)
    auth = Authenticator(settings)
    headers = [f"Bearer {token(settings, f'u{n}')}".encode() for n in range(3)]
    headers.append(f"Bearer {token(settings, 'u3', more='x' * 1024)}".encode())
    for header in headers:
        scope = {"type": "http", "headers": [(b"authorization", header)]}
        assert auth.actor(Request(scope)).type == "user"

    assert [auth._known(header) is not None for header in headers] == [False, True, True, False]


def _pair() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    return private, public


async def test_production_takes_rs256_only(prepared: Settings) -> None:
    """The development secret and the public key used as a secret open nothing."""
    private, public = _pair()
    other, _ = _pair()
    claims = {"sub": "u1", "role": "User", "aud": "caravan", "iss": "caravan", "exp": int(time.time()) + 60}
    production = replace(prepared, profile="production", jwt_public_key=public)
    signed_by_public = _hs256(claims, public)
    tokens = [
        jwt.encode(claims, private, "RS256"),
        jwt.encode(claims, other, "RS256"),
        token(prepared),
        signed_by_public,
    ]

    async with running(create_app(production, ALL), production) as caller:
        await caller.until("/ready", 200)
        answers = [
            await caller.client.get("/v1/points/statement/u1", headers={"Authorization": f"Bearer {bearer}"})
            for bearer in tokens
        ]

    assert [answer.status_code for answer in answers] == [200, 401, 401, 401]


def _hs256(claims: dict[str, object], secret: str) -> str:
    """PyJWT refuses to make it."""
    import hashlib
    import hmac

    body = _unsigned(claims, "HS256")[:-1]
    mac = hmac.digest(secret.encode(), body.encode(), hashlib.sha256)
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_settings_that_could_check_no_token_are_refused(settings: Settings) -> None:
    """At the start, with the mend."""
    for wrong in (
        replace(settings, jwt_secret=None),
        replace(settings, jwt_secret="short"),
        replace(settings, jwt_public_key="not a key"),
        replace(settings, profile="production"),
    ):
        with pytest.raises(SettingsError, match="CARAVAN_JWT"):
            Authenticator(wrong)


async def test_rights_of_every_command(edge: Caller) -> None:
    """Six roles, owner and stranger, on every command: 401 for Guests, 403 for others, before 422."""
    before = await edge.ends()
    allowed = 0
    for route in COMMANDS:
        contract = route.contract
        owner = owner_of(contract, route.body)
        for role in ROLES:
            for user in (owner or "u1", "stranger"):
                who = None if role == "Guest" else f"{user}/{role}"
                may = permits(contract.roles, role) and (owner is None or user == owner or role == "Admin")
                answer = await edge.post(route.path, dict(route.body), who)
                assert answer.status_code == (202 if may else 401 if who is None else 403), (route.path, who)
                worse = await edge.post(route.path, {**route.body, "surplus": 1}, who)
                at_till = owner is not None and contract.owner is None  # whose till it is stands in a body that is read
                read = may or (at_till and permits(contract.roles, role))
                assert worse.status_code == (422 if read else answer.status_code), (route.path, who)
                allowed += may
    after = await edge.ends()
    assert sum(after.values()) - sum(before.values()) == allowed


async def test_rights_of_every_view(edge: Caller) -> None:
    """A role that may not: 401 or 403; a private object of somebody else: 404, as if it were not there."""
    for read in VIEWS:
        readers = read.signature.readers
        for role in ROLES:
            for user in ("u1", "stranger"):
                who = None if role == "Guest" else f"{user}/{role}"
                answer = await edge.get(read.path, who)
                if not permits(readers.roles, role):
                    assert answer.status_code == (401 if who is None else 403), (read.path, who)
                elif readers.owner and user == "stranger" and role != "Admin":
                    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
                else:
                    assert answer.status_code in {200, 404}, (read.path, who)


async def test_a_stranger_sees_no_difference_between_there_and_not_there(edge: Caller) -> None:
    """Byte for byte, but for the path."""
    await edge.sql("INSERT INTO balance (user_id, available, held) VALUES ('u1', 5, 0)")
    there = (await edge.get("/v1/points/balance/u1", "u2")).content
    missing = (await edge.get("/v1/points/balance/u9", "u2")).content

    assert there.replace(b"u1", b"u9") == missing
    assert (await edge.get("/v1/points/balance/u1", "u1")).json()["active"] == 5
