# mypy: ignore-errors
"""Quix Streams: a stateful balance, and its own PostgreSQL sink for the ledger rows and the balances, written at each checkpoint.

Run by the suite: `python quix_sink.py SERVERS TOPIC DSN GROUP FOLDER`; the tables exist before the start. Runs until SIGTERM.
"""

import sys
from urllib.parse import parse_qs, urlsplit

from quixstreams import Application
from quixstreams.sinks.community.postgresql import PostgreSQLSink

SERVERS, TOPIC, DSN, GROUP, FOLDER = sys.argv[1:6]
EVERY = 20_000  # events of a checkpoint at most; its default is by time only, 5 s
KEYS = {"ledger": ("user_id", "seq"), "balance": ("user_id",)}


def award(event, state):
    """The ledger row and the new balance."""
    payload = event["payload"]
    user, amount = payload["user_id"], payload["amount"]
    available = state.get("balance", 0) + amount
    state.set("balance", available)
    return [
        {
            "user_id": user,
            "seq": event["aggregate_seq"],
            "at": event["occurred_at"],
            "kind": "awarded",
            "debit": "system:issued",
            "credit": f"user:{user}:available",
            "amount": amount,
            "reference": payload.get("source") or None,
        },
        {"user_id": user, "available": available, "held": 0},
    ]


def table(item):
    return "ledger" if "seq" in item.value else "balance"


def main():
    parts = urlsplit(DSN)
    sink = PostgreSQLSink(
        host=parts.hostname,
        port=parts.port or 5432,
        dbname=parts.path[1:],
        user=parts.username,
        password=parts.password or "",
        schema_name=parse_qs(parts.query)["search_path"][0],
        table_name=table,
        primary_key_columns=lambda item: KEYS[table(item)],
        upsert_on_primary_key=True,
        schema_auto_update=False,
        include_metadata=False,
    )
    app = Application(
        broker_address=SERVERS,
        consumer_group=GROUP,
        auto_offset_reset="earliest",
        commit_every=EVERY,
        state_dir=FOLDER,
        loglevel="ERROR",
    )
    events = app.dataframe(app.topic(TOPIC, value_deserializer="json"))
    events.apply(award, stateful=True, expand=True).sink(sink)
    app.run()


if __name__ == "__main__":
    main()
