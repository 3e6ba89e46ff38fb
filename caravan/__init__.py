"""The command `caravan`: supervisor, embedded broker and Postgres, and what joins the parts. The top layer."""

__version__ = "0.1.0"
