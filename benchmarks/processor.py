"""Processor time of processes that were started elsewhere, by which a rate on shared cores is told from a rate that is owed to them."""

from collections.abc import Iterable

import psutil


def spent(pids: Iterable[int]) -> float:
    """Seconds that these processes and their children have worked so far; the difference of two looks is what counts."""
    total = 0.0
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for one in family:
            try:
                told = one.cpu_times()
            except psutil.NoSuchProcess:  # ended since: its time is its parent's, which nobody counts twice
                continue
            total += told.user + told.system
    return total


def listening(port: int) -> list[int]:
    """The process that listens there, none where the system does not tell."""
    try:
        told = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return []
    found = {one.pid for one in told if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port}
    pids = [pid for pid in found if pid is not None]
    return [pid for pid in pids if psutil.Process(pid).ppid() not in pids]  # a parent counts its children
