"""Settings: every one is an environment variable `CARAVAN_*`, read once when a process starts."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from streams.errors import SettingsError


@dataclass(frozen=True)
class Settings:
    """Where the parts are and who we are.

    `kafka` is `kafka://[user:password@]host:port[,host:port][?security=...&mechanism=...&cafile=...]`, `postgres` a
    DSN, `postgres_read` the DSN for views (default: `postgres`), `namespace` a prefix of topics, groups, roles and schemas,
    `signing_keys` the platform's (id, secret) pairs of which the first signs, `empty_postgres` what a worker does that finds events and a Postgres
    that knows none of them.
    """

    kafka: str
    postgres: str
    signing_keys: tuple[tuple[str, bytes], ...]
    postgres_read: str = ""
    namespace: str = ""
    jwt_secret: str | None = None
    jwt_public_key: str | None = None
    profile: str = "development"
    clock: str = "system"
    data_dir: str = ".caravan"
    empty_postgres: str = "stop"

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read them all; raises SettingsError with the name of the first one that is missing or wrong."""
        settings = cls(
            kafka=_required(env, "CARAVAN_KAFKA", "kafka://127.0.0.1:9092"),
            postgres=_required(env, "CARAVAN_POSTGRES", "postgresql://caravan:secret@127.0.0.1:5432/caravan"),
            signing_keys=_keys(_required(env, "CARAVAN_SIGNING_KEYS", "k1:<64 hex digits>")),
            postgres_read=env.get("CARAVAN_POSTGRES_READ") or env.get("CARAVAN_POSTGRES", ""),
            namespace=env.get("CARAVAN_NAMESPACE", ""),
            jwt_secret=env.get("CARAVAN_JWT_SECRET"),
            jwt_public_key=env.get("CARAVAN_JWT_PUBLIC_KEY"),
            profile=env.get("CARAVAN_PROFILE", "development"),
            clock=env.get("CARAVAN_CLOCK", "system"),
            data_dir=env.get("CARAVAN_DATA_DIR", ".caravan"),
            empty_postgres=env.get("CARAVAN_EMPTY_POSTGRES", "stop"),
        )
        settings._check()
        return settings

    def _check(self) -> None:
        if not re.fullmatch(r"([a-z][a-z0-9_]{0,19})?", self.namespace):
            raise SettingsError(
                "CARAVAN_NAMESPACE: use at most 20 lower-case letters, digits and _, beginning with a letter."
            )
        if self.profile not in ("development", "production"):
            raise SettingsError("CARAVAN_PROFILE is development or production.")
        if self.clock not in ("system", "virtual"):
            raise SettingsError("CARAVAN_CLOCK is system or virtual.")
        if self.empty_postgres not in ("stop", "rebuild"):
            raise SettingsError("CARAVAN_EMPTY_POSTGRES is stop or rebuild.")
        if self.profile == "production" and self.clock == "virtual":
            raise SettingsError("CARAVAN_CLOCK=virtual is not for production; unset one of the two.")
        if self.profile == "production" and not self.jwt_public_key:
            raise SettingsError("CARAVAN_JWT_PUBLIC_KEY is missing: production checks tokens by RS256.")


def _required(env: Mapping[str, str], name: str, example: str) -> str:
    if value := env.get(name):
        return value
    raise SettingsError(f"{name} is not set; start an instance with `caravan up`, or set it, as in {name}={example}")


def _keys(text: str) -> tuple[tuple[str, bytes], ...]:
    try:
        pairs = [part.strip().split(":", 1) for part in text.split(",") if part.strip()]
        keys = tuple((key_id, bytes.fromhex(secret)) for key_id, secret in pairs)
    except ValueError:
        keys = ()
    ids = {key_id for key_id, _ in keys}
    if not ids or "" in ids or len(ids) < len(keys) or any(len(secret) < 16 for _, secret in keys):
        raise SettingsError(
            "CARAVAN_SIGNING_KEYS: give id:hex pairs, separated by commas, each id once, each key of at least 16 bytes."
        )
    return keys
