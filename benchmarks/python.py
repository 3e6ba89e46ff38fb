"""The Python peers: the environment that they run in, made from their own lock on first use, beside the Java peers' jars."""

import shutil
import subprocess
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

from platformdirs import user_cache_path

PEERS = Path(__file__).parent / "peers"
LOCK = PEERS / "requirements.lock"


@cache
def interpreter() -> str:
    """Python with what `requirements.lock` names, wheels by their hashes; made anew when the lock or this Python is another."""
    made_from = sha256(LOCK.read_bytes() + sys.version.encode() + sys.prefix.encode()).hexdigest()[:16]
    folder = user_cache_path("caravan") / "benchmarks" / f"python-{made_from}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print("making the environment of the Python peers", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(folder))
        _uv("pip", "sync", "--require-hashes", "--only-binary", ":all:", "--python", str(python), str(LOCK))
        (folder / "complete").touch()
    return str(python)


def _uv(*arguments: str) -> None:
    command = [sys.executable, "-m", "uv", *arguments, "--quiet", "--system-certs"]
    subprocess.run(command, check=True)
