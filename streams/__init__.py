"""The core: contracts, the batch loop, tables, sinks and views. It knows no domain."""
