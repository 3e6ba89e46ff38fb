"""Position tokens and cursors: opaque, authenticated by the platform's keys.

A token is bound to a command and to who issued it.

A token shows that Kafka took a command, where it stands, and whose it is. So `GET /v1/commands/{id}` can tell a pending
command from an unknown one without storing anything, and `?after=` knows what a view must cover.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from uuid import UUID

import msgspec

from api.errors import Problem
from streams.envelope import Actor

_POSITION = "position"
_MAC = 16  # bytes
MAX_LENGTH = 512  # characters


class Token(msgspec.Struct, frozen=True, array_like=True):
    """What a token says: a command's place, its id, and a short hash of its issuer."""

    domain: str
    partition: int
    offset: int
    id: bytes
    issuer: bytes

    @property
    def command_id(self) -> UUID:
        """The command's id."""
        return UUID(bytes=self.id)

    def issued_to(self, actor: Actor) -> bool:
        """Whether this actor issued the token's command."""
        return hmac.compare_digest(self.issuer, fingerprint(principal(actor)))


def principal(actor: Actor) -> str:
    """An actor as results and parked records name it: `user:u1`; `guest:` is anyone without a token."""
    return f"{actor.type}:{actor.id}"


def fingerprint(issuer: str) -> bytes:
    """A short hash, so that a token tells nobody's id."""
    return blake2b(issuer.encode(), digest_size=8).digest()


class Tokens:
    """Writes and reads tokens. The first key writes; every key is accepted, so keys rotate without a stop."""

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """Take the platform's (id, secret) pairs."""
        self._secrets = [secret for _, secret in keys]
        self._decode = msgspec.msgpack.Decoder(Token).decode

    def write(self, domain: str, partition: int, offset: int, command_id: UUID, issuer: str) -> str:
        """The token of a command that Kafka has."""
        return self.wrap(
            _POSITION, msgspec.msgpack.encode(Token(domain, partition, offset, command_id.bytes, fingerprint(issuer)))
        )

    def read(self, text: str) -> Token:
        """Raises the problem `bad_token`."""
        if len(text) > MAX_LENGTH or (body := self.unwrap(_POSITION, text)) is None:
            raise Problem("bad_token")
        return self._decode(body)

    def wrap(self, purpose: str, body: bytes) -> str:
        """Text that only we could have made, for one purpose."""
        return urlsafe_b64encode(_mac(self._secrets[0], purpose, body) + body).rstrip(b"=").decode()

    def unwrap(self, purpose: str, text: str) -> bytes | None:
        """What was wrapped for this purpose; None for anything else."""
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"===")
        except ValueError:
            return None
        mac, body = raw[:_MAC], raw[_MAC:]
        known = any(hmac.compare_digest(mac, _mac(secret, purpose, body)) for secret in self._secrets)
        return body if known else None


def _mac(secret: bytes, purpose: str, body: bytes) -> bytes:
    return hmac.digest(secret, b"caravan %b\0%b" % (purpose.encode(), body), "sha256")[:_MAC]
