"""Tests of the core: contracts, the batch loop on ports in memory, and the ports' suites."""
