"""Contracts as documents: exported for everybody, compared with what others rely on, and shown on the edge."""
