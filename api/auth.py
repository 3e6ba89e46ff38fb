"""Who calls: bearer tokens (JWT), HS256 with the development secret or RS256 with the public key. No token is a Guest."""

import math
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.requests import Request

from api.answer import given
from api.errors import Problem
from streams.contract import ROLES
from streams.envelope import Actor
from streams.errors import SettingsError
from streams.settings import Settings

AUDIENCE = ISSUER = "caravan"
GUEST = Actor("guest", "", "Guest")
MIN_SECRET = 32  # bytes, as RFC 7518 asks of HS256
_CACHED = 16_384  # tokens
_SHORT = 1024  # bytes of those that are remembered
_MAX_TOKEN = 8192  # characters
_SUBJECT = re.compile(r"[!-~]{1,128}")  # visible ASCII


class Caller(NamedTuple):
    """Who calls, and the Unix times at which their token was issued and expires."""

    actor: Actor
    issued: float
    expires: float


class _Seen(NamedTuple):
    """A token that was verified, and the key that vouches for it."""

    caller: Caller
    algorithm: str
    key: str | RSAPublicKey


_GUEST = Caller(GUEST, -math.inf, math.inf)


def _everybody(_user_id: str, _issued: float) -> bool:
    return True


class Authenticator:
    """Tells the actor of a request. Each key works with its own algorithm only, so no token chooses how it is checked."""

    def __init__(self, settings: Settings, admits: Callable[[str, float], bool] = _everybody) -> None:
        """Take the keys of `settings`; raises SettingsError when no token could ever be checked.

        `admits` tells whether a token that a user was given at a Unix time is still worth something; one that does not tell it is the oldest (-inf).
        """
        self._admits = admits
        self._keys: dict[str, str | RSAPublicKey] = {}
        self._seen: dict[bytes, _Seen] = {}  # by the header that brought them
        if settings.jwt_public_key:
            self._keys["RS256"] = _public_key(settings.jwt_public_key)
        if settings.jwt_secret and settings.profile == "development":
            if len(settings.jwt_secret.encode()) < MIN_SECRET:
                raise SettingsError(f"CARAVAN_JWT_SECRET is too short: give it at least {MIN_SECRET} bytes.")
            self._keys["HS256"] = settings.jwt_secret
        if not self._keys:
            raise SettingsError(
                "No token could be checked: set CARAVAN_JWT_SECRET (development) or CARAVAN_JWT_PUBLIC_KEY."
            )

    def actor(self, request: Request) -> Actor:
        """Raises the problem `unauthorized`, the same for every cause."""
        return self.caller(request).actor

    def caller(self, request: Request) -> Caller:
        """Who calls; raises the problem `unauthorized`, the same for every cause."""
        header = given(request).get(b"authorization")
        if header is None:
            return _GUEST
        seen = self._known(header)
        if seen is None:
            scheme, _, token = header.decode("latin-1").partition(" ")
            if scheme.lower() != "bearer" or len(token) > _MAX_TOKEN:
                raise unauthorized()
            seen = self._verify(token)
            if len(header) <= _SHORT:
                self._remember(header, seen)
        caller = seen.caller
        if not self._admits(caller.actor.id, caller.issued):
            raise unauthorized()
        return caller

    def withdraw(self, algorithm: str) -> None:
        """Trust the key of this algorithm no more, from the next request on; tokens that it vouched for are worth nothing."""
        self._keys.pop(algorithm, None)

    def _known(self, header: bytes) -> _Seen | None:
        """What was verified before, as long as it would be again: it has not expired and its key is still trusted."""
        seen = self._seen.get(header)
        if seen is None or seen.caller.expires <= time.time() or self._keys.get(seen.algorithm) is not seen.key:
            return None
        return seen

    def _remember(self, header: bytes, seen: _Seen) -> None:
        if len(self._seen) >= _CACHED:
            del self._seen[next(iter(self._seen))]  # the one that came first
        self._seen[header] = seen

    def _verify(self, token: str) -> _Seen:
        try:
            algorithm = jwt.get_unverified_header(token).get("alg", "")
            key = self._keys[algorithm]
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
            issued = float(claims.get("iat", -math.inf))
            return _Seen(Caller(_actor(claims), issued, float(claims["exp"])), algorithm, key)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
            raise unauthorized() from None


def unauthorized() -> Problem:
    """The one answer to every caller whom we do not know."""
    return Problem("unauthorized", headers={"WWW-Authenticate": 'Bearer realm="caravan"'})


def refused(actor: Actor) -> Problem:
    """A Guest is asked for a token; whoever showed one may not."""
    return unauthorized() if actor.type == "guest" else Problem("forbidden")


def _actor(claims: dict[str, Any]) -> Actor:
    subject, role = claims["sub"], claims.get("role")
    if role not in ROLES or not _SUBJECT.fullmatch(subject):
        raise ValueError("no such caller")
    return Actor("user", subject, role)


def _public_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if not isinstance(key, RSAPublicKey):
        raise SettingsError("CARAVAN_JWT_PUBLIC_KEY is not an RSA public key in PEM form (-----BEGIN PUBLIC KEY-----).")
    return key
