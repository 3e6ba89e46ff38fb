-- The edge's own tables, shared by its replicas. No topic feeds them.

-- What was asked under an Idempotency-Key, a row per (principal, domain, key), kept for 48 hours.
-- While `partition` is null nobody knows that Kafka has the command; `lease` says until when some request is at work on it.
CREATE TABLE idempotency (
    principal   text        NOT NULL,  -- "user:u1"
    domain      text        NOT NULL,
    key         text        NOT NULL,
    hash        text        NOT NULL,  -- of command and body: another body under the same key is refused
    command_id  uuid        NOT NULL,
    record_key  bytea       NOT NULL,
    record      bytea,                 -- the signed envelope, so that a repeat is the same record; null once acknowledged
    partition   integer,
    "offset"    bigint,
    lease       timestamptz NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, domain, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

-- The keys that personal data is encrypted with, one per subject. Deleting a row makes what it encrypted unreadable everywhere.
CREATE TABLE subject_keys (
    subject    text        NOT NULL PRIMARY KEY,
    key        bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
