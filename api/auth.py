"""Who calls: bearer tokens (JWT), HS256 with the development secret or RS256 with the public key. No token is a Guest."""

import math
import re
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.requests import Request

from api.errors import Problem
from streams.contract import ROLES
from streams.envelope import Actor
from streams.errors import SettingsError
from streams.settings import Settings

AUDIENCE = ISSUER = "caravan"
GUEST = Actor("guest", "", "Guest")
MIN_SECRET = 32  # bytes, as RFC 7518 asks of HS256
_CACHED = 4096  # tokens
_MAX_TOKEN = 8192  # characters
_SUBJECT = re.compile(r"[!-~]{1,128}")  # visible ASCII


class Authenticator:
    """Tells the actor of a request. Each key works with its own algorithm only, so no token chooses how it is checked."""

    def __init__(self, settings: Settings) -> None:
        """Take the keys of `settings`; raises SettingsError when no token could ever be checked."""
        self._keys: dict[str, str | RSAPublicKey] = {}
        self._seen: dict[str, tuple[Actor, float]] = {}  # verified tokens, with the time at which they expire
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
        return self.caller(request)[0]

    def caller(self, request: Request) -> tuple[Actor, float]:
        """The actor, and the Unix time at which the token expires."""
        header = request.headers.get("authorization")
        if header is None:
            return GUEST, math.inf
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or len(token) > _MAX_TOKEN:
            raise unauthorized()
        return self._known(token) or self._verify(token)

    def _known(self, token: str) -> tuple[Actor, float] | None:
        found = self._seen.get(token)
        return found if found is not None and found[1] > time.time() else None

    def _verify(self, token: str) -> tuple[Actor, float]:
        try:
            algorithm = jwt.get_unverified_header(token).get("alg", "")
            claims = jwt.decode(
                token,
                self._keys[algorithm],
                algorithms=[algorithm],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
            actor = _actor(claims)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, ArithmeticError, RecursionError):
            raise unauthorized() from None
        if len(self._seen) >= _CACHED:
            self._seen.clear()
        found = self._seen[token] = (actor, float(claims["exp"]))
        return found


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
