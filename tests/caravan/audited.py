"""A platform that has worked and rests: topics and tables of all domains with something of everything, and what damages them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import asyncpg

from caravan.audit import Auditor, Finding
from caravan.audit.finding import HARMLESS
from caravan.audit.look import Look
from sinks.postgres import PostgresStore, migrate
from streams import discover
from streams.agent import Decider, agents_of
from streams.clock import SystemClock, unix_ms
from streams.contract import Command
from streams.deciding import Deciding
from streams.envelope import Actor, Signer
from streams.handler import Position
from streams.ids import uuid7
from streams.kafka import Kafka
from streams.partitioner import partition_of
from streams.personal import Sealed, personal_fields
from streams.producer import command_record, signed
from streams.reading import Place, Reader
from streams.settings import Settings
from streams.store import Slot
from tests.acceptance.children import Child
from tests.faults.load import orders
from topics.governance import GOVERNANCE, RecordConsent, RequestDataExport, RequestErasure
from topics.identity import RegisterUser, UpdateProfile
from topics.points import (
    ActivatePointsRule,
    AwardPoints,
    DefinePointsRule,
    DefineTiers,
    HoldPoints,
    Tier,
    TransferPoints,
)
from topics.promotions import (
    ActivateCampaign,
    ApplyPromoCode,
    CreateCampaign,
    GeneratePromoCodes,
    NoteOrder,
    NoteStaff,
    PurchaseVoucher,
)
from topics.quests import (
    AbandonQuest,
    AwardBadge,
    CreateBadge,
    CreateChallenge,
    CreateLeaderboard,
    CreateQuest,
    CreateQuestParty,
    DefineStreak,
    JoinChallenge,
    PublishQuest,
    StartQuest,
    SubmitTaskProof,
)
from topics.referrals import (
    ActivateReferralScheme,
    ApplyAsAmbassador,
    ApproveAmbassador,
    CreateReferralCode,
    CreateReferralScheme,
    RequestPayout,
    TrackReferralClick,
)

PATIENCE_S = 100.0
POLL_S = 0.1
ADMIN, PARTNER, GUEST = Actor("user", "root", "Admin"), Actor("user", "p1", "Partner"), Actor("guest", "")
SERVICE = Actor("service", "promotions")
BUYERS = ("v0", "v1", "v2", "v3", "f0", "f1")
SCHEMES = {"fast": 0, "slow": 1}
"""Days after which a friend counts, by the scheme; its code has its name."""
LATER = datetime.now(UTC) + timedelta(days=300)
SECRET = Sealed("enc1.c2VjcmV0")


class Platform:
    """The rested platform, seen by one auditor that has folded it already; what is done to it is undone."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is open yet."""
        self.settings = settings
        self.auditor = Auditor(settings)
        self.db: Any = None
        self._kafka = Kafka(settings)
        self._signer = Signer(settings.signing_keys)

    async def publish(self, command: Command, actor: Actor = ADMIN) -> tuple[int, int]:
        """Put a command on its topic, as the edge does; partition and offset."""
        key, value = command_record(command, command_id=uuid7(unix_ms()), issued_at=SystemClock().now(), actor=actor)
        topic = command.topic.commands_topic
        return await self._kafka.publish(topic, key, value, signed(topic, key, value, self._signer))

    async def look(self) -> Look:
        """What the auditor finds now."""
        return await self.auditor.look()

    async def found(self) -> Counter[tuple[str, str]]:
        """The findings that break a promise, by domain and name."""
        return breaking((await self.look()).findings)

    async def execute(self, statement: str, *args: Any, domain: str = "points") -> None:
        """Change something behind the workers' backs."""
        await self.db.execute(f'SET search_path = "{self.settings.namespace}{domain}"')
        await self.db.execute(statement, *args)

    async def value(self, query: str, *args: Any, domain: str = "points") -> Any:
        """What Postgres says."""
        await self.db.execute(f'SET search_path = "{self.settings.namespace}{domain}"')
        return await self.db.fetchval(query, *args)

    @asynccontextmanager
    async def kept(self, *tables: str, domain: str = "points") -> AsyncIterator[None]:
        """These tables are at the end of the block as they were before it."""
        for table in tables:
            await self.execute(f"CREATE TABLE kept_{table} AS TABLE {table}", domain=domain)
        try:
            yield
        finally:
            for table in tables:
                back = f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table}"
                await self.execute(back, domain=domain)
            if "offsets" in tables:
                await self.look()  # that positions went back is told once

    async def record(self, place: Place, offset: int) -> Any:
        """A record where it stands."""
        async with Reader(self.settings) as reader:
            return await reader.read(place, offset)

    async def write(self, topic: str, partition: int, record: Any) -> None:
        """Put a record, as it is, behind the others."""
        producer = await self._kafka._producer("publish")
        name = self.settings.namespace + topic
        await producer.send_and_wait(
            name, record.value, key=record.key, headers=list(record.headers), partition=partition
        )

    @asynccontextmanager
    async def decided(self, command: Command) -> AsyncIterator[Deciding]:
        """Decide a command in a transaction, and do not come to relay its events."""
        partition, offset = await self.publish(command)
        domain = command.topic.domain
        (decider,) = [agent for agent in agents_of(domain) if isinstance(agent, Decider)]
        slot = Slot(domain, domain, command.topic.commands_topic, partition)
        store = PostgresStore(self.settings.postgres, self.settings.namespace)
        await store.start()
        deciding = Deciding(decider, slot, store=store, log=self._kafka, signer=self._signer, clock=SystemClock())
        try:
            claim = await store.claim(slot, "test", None)
            await deciding.begin(claim)
            record = await self.record(Place(slot.topic, partition), offset)
            work = await deciding.prepare([record], Position(claim.next, claim.number, claim.last_id), careful=True)
            await store.commit(slot, claim.epoch, work)
            yield deciding
        finally:
            await deciding.end()
            await store.stop()

    async def relay(self, deciding: Deciding) -> int:
        """Have what it decided last sent now; its number."""
        (number,) = [await self.value("SELECT max(number) FROM outbox WHERE partition = $1", deciding.slot.partition)]
        await deciding.relay._send(await deciding._store.unsent(deciding.slot, number - 1, 10))
        return int(number)

    async def close(self) -> None:
        """Close what is open."""
        await self._kafka.stop()


def breaking(findings: Iterable[Finding]) -> Counter[tuple[str, str]]:
    """Those that break a promise, counted by domain and name."""
    return Counter((one.domain, one.check) for one in findings if one.check not in HARMLESS)


def by(user_id: str) -> Actor:
    """A user who acts."""
    return Actor("user", user_id, "User")


def registered(user_id: str, login: str, **known: Any) -> tuple[Command, Actor]:
    """Somebody registers."""
    return RegisterUser(user_id=user_id, email=SECRET, email_login=login, display_name=SECRET, **known), GUEST


def everything() -> list[list[tuple[Command, Actor]]]:
    """Commands that leave something in every table; what is in one list needs that those before it are done."""
    return [[*told, *governed] for told, governed in zip_longest(of_others(), of_governance(), fillvalue=())]


def of_others() -> list[list[tuple[Command, Actor]]]:
    """What users and partners do."""
    return [
        [
            *of_points(),
            *of_promotions(),
            *of_quests(),
            *of_referrals(),
            *of_privacy(),
            *(registered(f"i{n}", f"login-{n % 2}") for n in range(3)),
        ],
        [
            *((StartQuest(user_id=f"v{n}", quest_id="tea"), by(f"v{n}")) for n in range(3)),
            (JoinChallenge(user_id="v0", challenge_id="tea"), by("v0")),
            (CreateQuestParty(owner_id="v0", party_id="we", quest_id="relay"), by("v0")),
            (AwardBadge(user_id="v0", badge_id="fan"), ADMIN),
            *((CreateReferralCode(user_id="i1", code=name, scheme_id=name), by("i1")) for name in SCHEMES),
            (ApplyAsAmbassador(user_id="i1"), by("i1")),
            (ApproveAmbassador(user_id="i1"), ADMIN),
        ],
        [
            (TrackReferralClick(visitor_id="seen", code="fast"), GUEST),
            *(registered(f"f{n}", f"friend-{n}", referral_code=code) for n, code in enumerate((*SCHEMES, "none"))),
            (SubmitTaskProof(user_id="v1", quest_id="tea", task_id="photo", text=SECRET), by("v1")),
            (AbandonQuest(user_id="v2", quest_id="tea"), by("v2")),
        ],
        [
            (PurchaseVoucher(campaign_id=name, voucher_id=f"{name}-{n}", user_id=who), by(who))
            for name, buyers in (("free", BUYERS), ("paid", BUYERS[:4]))
            for n, who in enumerate(buyers)
        ],
        [
            (RequestPayout(scheme_id="fast", user_id="i1", payout_id="first"), by("i1")),
            (UpdateProfile(user_id="i1", bio=SECRET), by("i1")),
        ],
    ]


def of_points() -> list[tuple[Command, Actor]]:
    """Tiers, a rule and some movements."""
    return [
        (DefineTiers(tiers=(Tier(tier_id="silver", name="Silver", points=50),)), ADMIN),
        (DefinePointsRule(rule_id="hello", event="identity.user_registered", amount=5, pending=31), ADMIN),
        (ActivatePointsRule(rule_id="hello"), ADMIN),
        *((AwardPoints(user_id=f"v{n}", amount=50, expires_at=LATER), ADMIN) for n in range(4)),
        (HoldPoints(user_id="v0", hold_id="h", amount=5), by("v0")),
        (TransferPoints(user_id="v1", transfer_id="t", to="v2", amount=5, note=SECRET), by("v1")),
    ]


def of_promotions() -> list[tuple[Command, Actor]]:
    """Campaigns on sale, a code that was used for an order, and somebody at a till."""
    usual = {"partner_id": "p1", "name": "Tea", "value": 300, "currency": "EUR", "quantity": 6, "budget": 1800}
    terms: dict[str, dict[str, Any]] = {
        "free": {"price": 0},
        "paid": {"price": 10},
        "off": {"price": 0, "kind": "promo"},
    }
    used = {"order_id": "o1", "user_id": "v0"}
    return [
        *((CreateCampaign(campaign_id=name, valid_days=9, **usual, **more), PARTNER) for name, more in terms.items()),
        *((ActivateCampaign(campaign_id=name, partner_id="p1"), PARTNER) for name in terms),
        (GeneratePromoCodes(campaign_id="off", partner_id="p1", codes=("OFF",)), PARTNER),
        (ApplyPromoCode(campaign_id="off", code="OFF", total=900, currency="EUR", **used), by("v0")),
        (NoteOrder(status="paid", amount=600, **used), SERVICE),
        (NoteStaff(venue_id="bar", partner_id="p1", user_id="sue", acts=True), SERVICE),
    ]


def of_quests() -> list[tuple[Command, Actor]]:
    """What there is to do, all of it by buying a voucher."""
    buys = {"event": "voucher_purchased"}
    tasks = [
        {"task_id": "buy", "name": "Buy", **buys, "xp": 5},
        {"task_id": "photo", "name": "Show", "proof": "verified", "optional": True},
    ]
    challenge = {
        "challenge_id": "tea",
        "name": "Tea",
        "starts_at": "2020-01-01T00:00:00Z",
        "ends_at": "2199-01-01T00:00:00Z",
    }
    return [
        (CreateQuest.model_validate({"quest_id": "tea", "author_id": "p1", "name": "Tea", "tasks": tasks}), PARTNER),
        (PublishQuest(quest_id="tea", author_id="p1"), PARTNER),
        (CreateBadge(badge_id="fan", name="Fan"), ADMIN),
        (CreateChallenge.model_validate({**challenge, **buys}), ADMIN),
        (DefineStreak.model_validate({"streak_id": "tea", **buys}), ADMIN),
        (CreateLeaderboard(leaderboard_id="best", name="Best", every="month"), ADMIN),
        (
            CreateQuest.model_validate(
                {"quest_id": "relay", "author_id": "p1", "name": "Relay", "tasks": tasks, "group": {"min": 2, "max": 4}}
            ),
            PARTNER,
        ),
        (PublishQuest(quest_id="relay", author_id="p1"), PARTNER),
    ]


def of_referrals() -> list[tuple[Command, Actor]]:
    """Schemes that pay for a friend who buys a voucher, at once or later."""
    terms = {"event": "voucher_purchased", "levels": [{"points": 5, "commission": 30}], "budget": 100}
    money = {"currency": "EUR", "commission_budget": 100, "payout_threshold": 30}
    made: list[tuple[Command, Actor]] = []
    for name, days in SCHEMES.items():
        scheme = {"scheme_id": name, "name": name, "hold_days": days, **terms, **money}
        made += [(CreateReferralScheme.model_validate(scheme), ADMIN), (ActivateReferralScheme(scheme_id=name), ADMIN)]
    return made


def of_governance() -> list[list[tuple[Command, Actor]]]:
    """The examples of moderation, sanctions and KYC, each behind those that it needs."""
    steps: list[list[tuple[Command, Actor]]] = [[] for _ in range(5)]
    for contract in GOVERNANCE.commands.values():
        if contract.roles and contract.__module__ != RequestErasure.__module__:
            for example in contract.examples:
                given = {name: SECRET for name in personal_fields(contract) if name in example}
                command = contract.model_validate(example).model_copy(update=given)
                own = contract.owner and "Admin" not in contract.roles
                steps[depth(contract)].append((command, by(getattr(command, str(contract.owner))) if own else ADMIN))
    return steps


def depth(contract: type[Command]) -> int:
    """How many commands have to come before it, one after the other."""
    return max((1 + depth(GOVERNANCE.commands[name]) for name in contract.after), default=0)


def of_privacy() -> list[tuple[Command, Actor]]:
    """Somebody agrees to something and asks what is known of them; somebody else goes."""
    return [
        (RecordConsent(user_id="v0", purpose="news", text_version="1", channel="web"), by("v0")),
        (RequestDataExport(user_id="v0"), by("v0")),
        (RequestErasure(user_id="gone"), by("gone")),
    ]


async def work(platform: Platform, folder: Path) -> None:
    """Have a worker do everything, and leave; nothing is under way then."""
    settings = platform.settings
    await migrate(settings.postgres, settings.namespace)
    await platform._kafka.declare([discover.topic(domain) for domain in discover.domains()])
    worker = Child(("worker",), settings, folder / "worker.log")
    try:
        await until_true(lambda: worker.says("worker ready"))
        begun = asyncio.gather(*(platform.publish(order.command, order.actor) for order in orders(7, 150)))
        for together in everything():
            for command, actor in together:  # in this order
                await platform.publish(command, actor)
            await begun
            await rested(platform)
    finally:
        worker.stop()


async def rested(platform: Platform) -> None:
    """Wait until every agent has come to the end of its topic, and all that was decided is relayed."""
    found = {domain: agents_of(domain) for domain in discover.domains()}
    agents = {(domain, agent.name) for domain, there in found.items() for agent in there if found[agent.source.domain]}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            look = await platform.look()
            assert breaking(look.findings) == {}, list(look.findings)
            if look.lags.keys() == agents and not any(look.lags.values()) and not any(look.waiting.values()):
                return
            await asyncio.sleep(POLL_S)


async def until_true(condition: Any) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - it comes true in another process
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def rested_platform(settings: Settings, folder: Path) -> AsyncIterator[Platform]:
    """It has worked, and nothing is under way."""
    platform = Platform(settings)
    try:
        # the auditor looks at what is there from the first command on
        async with platform.auditor:
            await work(platform, folder)
            platform.db = await asyncpg.connect(settings.postgres)
            yield platform
    finally:
        if platform.db is not None:
            await platform.db.close()
        await platform.close()


def place_of(key: str, partitions: int = 4) -> int:
    """The partition of a key."""
    return partition_of(key.encode(), partitions)
