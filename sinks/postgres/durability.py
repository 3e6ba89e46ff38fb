"""What this Postgres promises of a COMMIT that it has answered."""

from typing import Any

from sinks.postgres.migrations import connect

NAMES = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums", "zero_damaged_pages", "in_hot_standby")


async def durability(dsn: str) -> dict[str, str]:
    """The settings that durability hangs on, as they hold for our sessions. Raises CaravanError."""
    connection: Any = await connect(dsn)
    try:
        rows = await connection.fetch("SELECT name, setting FROM pg_settings WHERE name = ANY($1)", list(NAMES))
        return {row["name"]: row["setting"] for row in rows}
    finally:
        await connection.close()
