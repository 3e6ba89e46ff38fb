"""Settings: read once, and a missing or wrong one is named with its mend."""

import pytest

from streams.errors import SettingsError
from streams.settings import Settings

FULL = {
    "CARAVAN_KAFKA": "kafka://h:1",
    "CARAVAN_POSTGRES": "postgresql://h/d",
    "CARAVAN_SIGNING_KEYS": f"new:{'ab' * 16}, old:{'cd' * 32}",
}


def test_what_is_not_given_has_a_default() -> None:
    settings = Settings.from_env(FULL)
    assert settings.signing_keys == (("new", b"\xab" * 16), ("old", b"\xcd" * 32))
    assert settings.postgres_read == settings.postgres
    assert (settings.namespace, settings.profile, settings.clock) == ("", "development", "system")


def test_everything_may_be_given() -> None:
    env = FULL | {
        "CARAVAN_POSTGRES_READ": "postgresql://r/d",
        "CARAVAN_NAMESPACE": "t1_",
        "CARAVAN_JWT_SECRET": "s",
        "CARAVAN_CLOCK": "virtual",
    }
    settings = Settings.from_env(env)
    assert (settings.postgres_read, settings.namespace, settings.jwt_secret) == ("postgresql://r/d", "t1_", "s")
    assert settings.clock == "virtual"


@pytest.mark.parametrize("name", sorted(FULL))
@pytest.mark.parametrize("empty", [True, False])
def test_what_is_missing_is_named_with_an_example(name: str, empty: bool) -> None:
    env = {key: value for key, value in FULL.items() if key != name} | ({name: ""} if empty else {})
    with pytest.raises(SettingsError, match=rf"{name} is not set; .*{name}="):
        Settings.from_env(env)


@pytest.mark.parametrize(
    "keys",
    [
        "k1",
        "k1:",
        "k1:xyz",
        f"k1:{'ab' * 15}",
        ",",
        f"k1:{'ab' * 16},k2",
        f":{'ab' * 16}",
        f"k1:{'ab' * 16},k1:{'cd' * 16}",
    ],
)
def test_signing_keys_that_cannot_be_meant(keys: str) -> None:
    with pytest.raises(SettingsError, match="CARAVAN_SIGNING_KEYS"):
        Settings.from_env(FULL | {"CARAVAN_SIGNING_KEYS": keys})


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"CARAVAN_NAMESPACE": "Test"}, "CARAVAN_NAMESPACE"),
        ({"CARAVAN_NAMESPACE": "a-b"}, "CARAVAN_NAMESPACE"),
        ({"CARAVAN_NAMESPACE": "a" * 21}, "CARAVAN_NAMESPACE"),
        ({"CARAVAN_NAMESPACE": "a\n"}, "CARAVAN_NAMESPACE"),
        ({"CARAVAN_PROFILE": "test"}, "CARAVAN_PROFILE"),
        ({"CARAVAN_CLOCK": "broken"}, "CARAVAN_CLOCK"),
        ({"CARAVAN_PROFILE": "production"}, "CARAVAN_JWT_PUBLIC_KEY"),
        ({"CARAVAN_PROFILE": "production", "CARAVAN_CLOCK": "virtual"}, "not for production"),
    ],
)
def test_what_is_wrong_is_named(env: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.from_env(FULL | env)
