"""The benchmark suite: this platform and its peers on the same work, side by side in one run on one machine.

`python -m benchmarks` measures and saves `results/latest.json`; `python -m benchmarks.report` prints it as a table.
"""
