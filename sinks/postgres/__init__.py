"""Postgres: the store of the core, what the edge reads, and the migrations."""

from sinks.postgres.durability import durability
from sinks.postgres.migrations import migrate, migrate_beside, pending
from sinks.postgres.status import status
from sinks.postgres.store import PostgresStore

__all__ = ["PostgresStore", "durability", "migrate", "migrate_beside", "pending", "status"]
