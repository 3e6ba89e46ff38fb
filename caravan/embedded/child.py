"""Runs one command so that it dies with the process that started it: `child.py PARENT SIGNAL UID:GID GUARD -- COMMAND…`.

Run by path, without our packages: it must start quickly and after a change of user nothing of ours may be readable.

Linux (`pdeath`): the kernel sends SIGNAL when the parent dies. The wish is lost by a change of user, so it is made after
that, and the parent is looked at afterwards: it may have died in between. Then this process becomes the command.
Elsewhere (`pipe`): this process stays, holds the read end of a pipe as its standard input, passes signals on, and sends
SIGNAL to the command, then SIGKILL, when the pipe closes.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1
GRACE = 3.0  # s between SIGNAL and SIGKILL once the pipe has closed
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


def become(user: str) -> None:
    """Change to `uid:gid`; `-` stays as it is."""
    if user == "-":
        return
    uid, gid = (int(part) for part in user.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with(parent: int, death: signal.Signals) -> None:
    """Ask the kernel for `death` when the parent ends, and end now if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(death), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        sys.exit(1)


def stay(command: list[str], death: signal.Signals) -> int:
    """Run the command and end it when standard input closes; its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    for number in PASSED_ON:
        signal.signal(number, lambda number, _frame: child.send_signal(number))

    def watch() -> None:
        while os.read(0, 1):
            pass
        child.send_signal(death)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
            return
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


def main(argv: list[str]) -> int:
    parent, number, user, guard, _, *command = argv
    death = signal.Signals(int(number))
    become(user)
    if guard == "pipe":
        return stay(command, death)
    die_with(int(parent), death)
    return os.execv(command[0], command)  # noqa: S606 (no shell is wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
