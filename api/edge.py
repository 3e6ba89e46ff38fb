"""What every route works with, joined once at the start."""

from dataclasses import dataclass
from uuid import UUID

from api.auth import Authenticator
from api.feeds import Feeds
from api.health import Health
from api.load import Load
from api.personal import Blinder
from api.sse import Streams
from api.standings import Standings
from api.tokens import Tokens, principal
from sinks.postgres.edge import EdgeStore
from streams.clock import Clock
from streams.envelope import Actor, Signer
from streams.kafka import Kafka


@dataclass(frozen=True)
class Receipt:
    """A command that Kafka has: its id, who issued it and where it stands."""

    domain: str
    command_id: UUID
    issuer: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Edge:
    """The parts of one edge process."""

    auth: Authenticator
    tokens: Tokens
    signer: Signer
    clock: Clock
    log: Kafka
    store: EdgeStore
    blinder: Blinder
    standings: Standings
    health: Health
    streams: Streams
    feeds: Feeds
    load: Load

    def end(self) -> None:
        """The process ends: streams end, and who waits for something is answered with what there is."""
        self.streams.end()
        self.store.moves.unheard()

    @property
    def ending(self) -> bool:
        """Whether the process was told to end."""
        return self.streams.ended

    def token(self, receipt: Receipt) -> str:
        """The token of a receipt."""
        return self.tokens.write(receipt.domain, receipt.partition, receipt.offset, receipt.command_id, receipt.issuer)

    def receipt(self, domain: str, command_id: UUID, actor: Actor, place: tuple[int, int]) -> Receipt:
        """The receipt of a command that Kafka took at `place`."""
        return Receipt(domain, command_id, principal(actor), *place)


def status_url(domain: str, command_id: UUID, token: str | None = None) -> str:
    """Where to ask what became of a command; the token lets a pending one be told from an unknown one."""
    url = f"/v1/commands/{command_id}?domain={domain}"  # both, and tokens, need no escaping
    return f"{url}&token={token}" if token else url
