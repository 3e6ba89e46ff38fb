"""The collector of a process that works batches or requests."""

import gc


def tune() -> None:
    """Batches and requests make many small objects that die by reference count; with Python's thresholds the collector would take 3/4 of the time."""
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)
