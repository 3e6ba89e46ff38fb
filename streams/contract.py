"""Contracts: one Pydantic class per command or event is the only description of that message.

Its declaration says the topic, the key, who may issue it; the class name gives the wire name (`AwardPoints` is
`award_points`); validation, JSON Schema, routes and documentation are derived from it::

    POINTS = Topic("points", key="user_id")

    class AwardPoints(Command, topic=POINTS, roles=("Admin",), services=("quests",)):
        user_id: UserId
        amount: Points

A message whose meaning or shape changes gets the next version and an *upcaster* from the one before, a pure function from payload to
payload. Records are never rewritten: each is brought up to date when it is read, for ever::

    class PointsAwarded(Event, topic=POINTS, version=2, upcasts={1: lambda old: {**old, "amount": old["amount"] * 100}}):
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypedDict, Unpack, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

from streams.codec import Parse, Payload, parser
from streams.envelope import Actor
from streams.errors import CaravanError, ContractError
from streams.personal import FROM_TOPIC, blind_fields, personal_fields

Role = Literal["Guest", "User", "VIP", "PRO", "Partner", "Admin"]
ROLES: tuple[str, ...] = get_args(Role)
_RANK = {"Guest": 0, "User": 1, "VIP": 2, "PRO": 3}  # Partner and Admin stand apart

Text = Annotated[str, Field(strict=True, max_length=1000, pattern=r"^[^\x00]*$")]
"""Free text of at most 1000 characters, without NUL, which Postgres cannot store."""

Name = Annotated[str, Field(strict=True, min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")]
"""An identifier given from outside: ids of users, holds, sources."""

Id = Annotated[str, Field(strict=True, min_length=1, max_length=50, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]*$")]
"""An id of a definition, such as a campaign or a quest; it has no colon, and two of them fit into a `Name` with one between."""

Reason = Annotated[Text, Field(min_length=1)]
"""Why, in words; it stays in the log for ever, so it names no person."""

Days = Annotated[int, Field(strict=True, ge=1, le=3650)]

Currency = Annotated[str, Field(strict=True, pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""

MAX_EXACT = 2**53 - 1
"""The largest whole number that every JSON reader keeps exact (RFC 8259, section 6)."""

Total = Annotated[int, Field(strict=True, ge=0, le=MAX_EXACT)]
"""Money in the minor unit of its currency, possibly none."""

Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_EXACT)]
"""Money in the minor unit of its currency."""


def _written(value: Any) -> Any:
    """A number would be taken for a Unix time, in seconds or milliseconds by its size."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        with suppress(ValueError):  # read here: strict validation would take the text for no time
            return datetime.fromisoformat(value.upper())
    raise ValueError("a time is written as in 2026-01-31T12:00:00Z")


def _in_utc(value: datetime) -> datetime:
    if 1000 < value.year < 9000:  # beyond, the change of offset could leave the calendar
        value = value.astimezone(UTC)
    if not 2000 <= value.year < 3000:  # and a sum of times here
        raise ValueError("a time is of the years 2000 to 2999")
    return value


Upcast = Callable[[dict[str, Any]], Mapping[str, Any]]
"""From the payload of one version to that of the next; pure. It may change what it is given, and leaves what it does not know as it is."""

Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]
"""A point in time, given with its offset from UTC and kept as UTC."""


class UnknownVersion(CaravanError):
    """A record was written by newer code than this, which cannot know what it says."""


class UpcastFailed(CaravanError):
    """An upcaster could not bring the payload of an old record up to date."""


@dataclass(eq=False)
class Topic:
    """A domain's pair of topics, `<domain>.commands` and `<domain>.events`, equal in key and partitions.

    `key` is the payload field that holds the aggregate id unless a message names another. The partition count is fixed
    for the life of the topic. With `changelog` there is a third one, `<domain>.changelog`, which keeps the last state of every document
    (`streams.changelog`). Classes register themselves here when they are declared.

    A `retired` domain takes no command from the edge any more. What stands on its topics is finished, sagas too, and its events
    are read for ever.
    """

    domain: str
    key: str
    partitions: int = 4
    changelog: bool = False
    retired: bool = False
    commands: dict[str, type["Command"]] = field(default_factory=dict)
    events: dict[str, type["Event"]] = field(default_factory=dict)

    @property
    def commands_topic(self) -> str:
        """Name of the command topic, without namespace."""
        return f"{self.domain}.commands"

    @property
    def events_topic(self) -> str:
        """Name of the event topic, without namespace."""
        return f"{self.domain}.events"

    @property
    def changelog_topic(self) -> str:
        """Name of the changelog topic, without namespace, for a domain that has one."""
        return f"{self.domain}.changelog"


class Versions(TypedDict, total=False):
    """Class arguments of messages that have changed: the current version, and an upcaster from each one before to the next."""

    version: int
    upcasts: Mapping[int, Upcast]


class Uses(Versions, total=False):
    """Class arguments of commands that have changed, or that the edge takes from fewer or from more than it usually would."""

    retired: bool
    despite_sanctions: bool
    held: "Hold"


class Hold(Protocol):
    """What holds the content of a command back until it is approved (`streams.holding`)."""

    def declare(self, command: type["Command"]) -> None:
        """Give the command's topic what that needs."""
        ...


class Message(BaseModel):
    """What commands and events share: immutable payloads with a topic, a key, a wire name and a schema version."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", allow_inf_nan=False)

    topic: ClassVar[Topic]
    key_field: ClassVar[str]
    wire_name: ClassVar[str]
    version: ClassVar[int]
    upcasts: ClassVar[Mapping[int, Upcast]]
    _parse: ClassVar[Parse]

    def __init_subclass__(cls, **declaration: Any) -> None:
        """Let class arguments through; `__pydantic_init_subclass__` reads them once the fields are known."""
        super().__init_subclass__()

    @classmethod
    def _declare(cls, topic: Topic, key: str | None, versions: Versions) -> None:
        version, upcasts = versions.get("version", 1), versions.get("upcasts", {})
        cls.topic = topic
        cls.key_field = key or topic.key
        cls.wire_name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        cls.version, cls.upcasts = version, dict(upcasts)
        _demand_chain(cls.__name__, version, upcasts)
        context = FROM_TOPIC if personal_fields(cls) else None
        cls._parse = parser(cls, context)
        if "key" in cls.model_fields:
            raise ContractError(
                f"{cls.__name__}: a field cannot be called `key`; every message has one: name what it is the key of."
            )
        own = {name for base in (Message, *cls.__bases__) for name in getattr(base, "__class_vars__", ())}
        if hidden := sorted(own & cls.model_fields.keys()):
            raise ContractError(f"{cls.__name__}: a field cannot be called `{hidden[0]}`; every message has that.")
        if cls.key_field not in cls.model_fields:
            raise ContractError(f"{cls.__name__}: its key {cls.key_field!r} is not one of its fields.")
        blind_fields(cls)

    @property
    def key(self) -> str:
        """The aggregate id: the key of the record that carries this message."""
        key = getattr(self, self.key_field)
        return key if type(key) is str else str(key)

    @classmethod
    def from_topic(cls, payload: Payload) -> Self:
        """Parse a payload of the current version read from a topic; unknown fields are kept. Raises `pydantic.ValidationError`."""
        message: Self = cls._parse(payload)
        return message

    @classmethod
    def read(cls, version: int, payload: Payload) -> Self:
        """Parse a payload of any version that there was; unknown fields are kept.

        Raises UnknownVersion for one that this code does not know, UpcastFailed, and `pydantic.ValidationError`.
        """
        message: Self = cls._parse(payload if version == cls.version else cls.upcast(version, payload))
        return message

    @classmethod
    def reader(cls) -> tuple[int, Parse, str]:
        """For whoever reads many: the current version, what parses a payload of it, and the name of the key's field."""
        return cls.version, cls._parse, cls.key_field

    @classmethod
    def upcast(cls, version: int, payload: Payload) -> bytes:
        """A payload of an older version as one of the current version; raises UnknownVersion and UpcastFailed."""
        if not 1 <= version <= cls.version:
            raise UnknownVersion(
                f"{cls.wire_name} version {version} is unknown to this code, which reads {_upto(cls.version)}."
            )
        try:
            told = json.loads(bytes(payload))
            for step in range(version, cls.version):
                told = dict(cls.upcasts[step](told))
            return json.dumps(told).encode()
        except Exception as error:  # an author's function may raise anything
            words = f"{cls.wire_name} could not be brought from version {version} to {cls.version}: {error!r}"
            raise UpcastFailed(words) from error

    def to_json(self) -> bytes:
        """The payload as JSON, with the unknown fields that came along."""
        known = self.__pydantic_serializer__.to_json(self)
        if not self.__pydantic_extra__:
            return known
        return known[:-1] + b"," + to_json(self.__pydantic_extra__)[1:]


class Command(Message):
    """An imperative that its domain may refuse.

    Class arguments: `topic`; `key` (default: the topic's); `roles`, the lowest roles that may issue it; `owner`, the field that must
    equal the caller's id unless the caller is an Admin; `services`, the domains whose policies may issue it
    (a command for services alone has no route); `examples`, payloads that are accepted on an empty platform once the
    examples of the commands named in `after` were, and theirs before them; `version` and `upcasts`, an upcaster from each version
    before to the next; `retired`, when the edge takes it no longer; `despite_sanctions`, when the edge takes it from those too who are banned or
    restricted (`streams.view.standing`), such as an appeal; `held`, what holds its content back until it is approved (`streams.holding`).
    """

    roles: ClassVar[tuple[str, ...]] = ()
    owner: ClassVar[str | None] = None
    services: ClassVar[tuple[str, ...]] = ()
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    after: ClassVar[tuple[str, ...]] = ()
    retired: ClassVar[bool] = False
    despite_sanctions: ClassVar[bool] = False
    held: ClassVar[Hold | None] = None

    @classmethod
    def __pydantic_init_subclass__(  # type: ignore[override]  # class arguments of our own
        cls,
        *,
        topic: Topic | None = None,
        key: str | None = None,
        roles: Sequence[str] = (),
        owner: str | None = None,
        services: Sequence[str] = (),
        examples: Sequence[Mapping[str, Any]] = (),
        after: Sequence[str] = (),
        **uses: Unpack[Uses],
    ) -> None:
        """Read the declaration; raises ContractError where it is incomplete."""
        if topic is None:
            raise ContractError(f"{cls.__name__}: say its topic, as in `class {cls.__name__}(Command, topic=...)`.")
        cls.retired = uses.pop("retired", False) or topic.retired
        cls.despite_sanctions = uses.pop("despite_sanctions", False)
        cls.held = uses.pop("held", None)
        cls._declare(topic, key, uses)
        if not roles and not services:
            raise ContractError(f"{cls.__name__}: nobody may issue it; declare roles or services.")
        if unknown := set(roles) - set(ROLES):
            raise ContractError(f"{cls.__name__}: unknown role {min(unknown)!r}; the roles are {', '.join(ROLES)}.")
        if owner is not None and owner not in cls.model_fields:
            raise ContractError(f"{cls.__name__}: its owner {owner!r} is not one of its fields.")
        cls.roles, cls.owner, cls.services = tuple(roles), owner, tuple(services)
        cls.examples, cls.after = tuple(examples), tuple(after)
        topic.commands[cls.wire_name] = cls
        if cls.held is not None:
            cls.held.declare(cls)

    def may_be_issued_by(self, actor: Actor) -> bool:
        """Whether the declaration lets this actor issue this very command; asked by the edge and again by the agent."""
        if actor.type == "service":
            return actor.id in self.services
        if not self.roles:
            return False
        if actor.role == "Admin":
            return True
        return permits(self.roles, actor.role) and (self.owner is None or getattr(self, self.owner) == actor.id)


class Event(Message):
    """A fact in the past tense. Class arguments: `topic`, `key` (default: the topic's), `version` and `upcasts` as for commands."""

    @classmethod
    def __pydantic_init_subclass__(  # type: ignore[override]  # class arguments of our own
        cls,
        *,
        topic: Topic | None = None,
        key: str | None = None,
        **versions: Unpack[Versions],
    ) -> None:
        """Read the declaration; raises ContractError where it is incomplete."""
        if topic is None:
            raise ContractError(f"{cls.__name__}: say its topic, as in `class {cls.__name__}(Event, topic=...)`.")
        cls._declare(topic, key, versions)
        topic.events[cls.wire_name] = cls


def _demand_chain(name: str, version: int, upcasts: Mapping[int, Upcast]) -> None:
    """Every version that there was leads to the current one, or its records could not be read."""
    if version < 1:
        raise ContractError(f"{name}: versions begin with 1.")
    if missing := set(range(1, version)) - set(upcasts):
        step = min(missing)
        raise ContractError(
            f"{name}: version {version} cannot read the records of version {step}; give `upcasts={{{step}: ...}}`, "
            f"a function from the payload of version {step} to that of version {step + 1}."
        )
    if beyond := set(upcasts) - set(range(1, version)):
        raise ContractError(f"{name}: upcasts has {max(beyond)}, and the current version is {version}.")


def _upto(version: int) -> str:
    return f"1 to {version}" if version > 1 else "1"


def permits(roles: Sequence[str], role: str) -> bool:
    """Whether a caller in `role` is covered by `roles`: Guest < User < VIP < PRO; Partner stands apart; Admin may all.

    What a Guest may do, everybody may.
    """
    if role == "Admin" or role in roles or "Guest" in roles:
        return True
    rank = _RANK.get(role)
    return rank is not None and any(rank >= _RANK[r] for r in roles if r in _RANK)
