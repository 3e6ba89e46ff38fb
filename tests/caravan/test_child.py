"""Children of a supervisor: guarded by the kernel, or by a pipe where the kernel does not help."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from caravan import cache
from caravan.embedded import process
from caravan.embedded.process import Child
from caravan.errors import DiskFull, StartFailed
from tests.caravan.conftest import ROOT, gone, until

PARENT = """
import sys, time
from pathlib import Path
from caravan.embedded.process import Child
child = Child("sleep", ["/bin/sleep", "1000"], Path(sys.argv[1]), guard=sys.argv[2])
child.start()
print(child.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("guard", ["pdeath", "pipe"])
def test_a_child_dies_with_its_parent(tmp_path: Path, guard: str) -> None:
    """However the parent ends."""
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log"), guard]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until(lambda: any("sleep" in one.name() for one in [child, *child.children()]), "it runs")
        family = [child, *child.children()]
        parent.kill()
    gone(family)


@pytest.mark.parametrize("guard", ["pdeath", "pipe"])
def test_a_child_whose_parent_is_gone_already_never_runs(tmp_path: Path, guard: str) -> None:
    """The parent may die between the fork and the wish to die with it."""
    made = tmp_path / "made"
    arguments = ["1" if guard == "pdeath" else "0", "9", "-", guard, "--", "/bin/sh", "-c", f"sleep 1; touch {made}"]
    done = subprocess.run([sys.executable, str(process.CHILD), *arguments], stdin=subprocess.DEVNULL, check=False)

    assert done.returncode != 0
    assert not made.exists()


@pytest.mark.parametrize("guard", ["pdeath", "pipe"])
def test_a_child_is_asked_and_then_forced(tmp_path: Path, guard: str) -> None:
    """One that does not listen is killed when its time is over."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)"
    child = Child("deaf", [sys.executable, "-c", deaf], tmp_path / "log", guard=guard)
    child.start()
    until(lambda: "deaf" in (tmp_path / "log").read_text(), "it listens no more")
    family = [one for parent in [psutil.Process(child.pid)] for one in [parent, *parent.children()]]
    child.stop(0.1)
    gone(family)

    assert child.ended() == -signal.SIGKILL


def test_an_early_end_is_told_with_the_last_words(tmp_path: Path) -> None:
    """The line that says why, not the last one."""
    child = Child("p", ["/bin/sh", "-c", "echo FATAL: no luck; echo bye; exit 3"], tmp_path / "log")
    child.start()
    until(lambda: child.ended() is not None, "it ended")

    with pytest.raises(StartFailed, match=r"p ended with status 3: FATAL: no luck; see .*log"):
        child.check()


def test_an_end_for_want_of_room_is_told_as_such(tmp_path: Path) -> None:
    """Here the device that is always full."""
    child = Child("p", ["/bin/sh", "-c", "echo x | LC_ALL=C cat >/dev/full; exit 1"], tmp_path / "log")
    child.start()
    until(lambda: child.ended() is not None, "it ended")

    with pytest.raises(DiskFull, match=r"the disk of .* is full; free some space"):
        child.check()


def test_room_is_looked_at_before_anything_is_written(tmp_path: Path) -> None:
    """With what is missing, and where."""
    with pytest.raises(DiskFull, match=r"the cluster needs \d+ MB on the disk of .*, only \d+ MB are free"):
        cache.need(tmp_path / "not" / "there", 1 << 60, "the cluster")


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    """At a start; the one before that goes."""
    log = tmp_path / "x.log"
    log.write_bytes(b"a" * (process.ROTATE + 1))
    process.rotate(log)

    assert not log.exists()
    assert (tmp_path / "x.log.1").stat().st_size == process.ROTATE + 1
