"""A real Kafka broker and a real Postgres, run from what the package registries carry: no Docker, no installed Java."""
