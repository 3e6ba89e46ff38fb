-- What became of every command. `hash` binds an entry to the one before it of its domain and partition, `anchor` is the platform's signature on a hash.
CREATE TABLE audit_log (
    domain         text        NOT NULL,
    partition      integer     NOT NULL,
    number         bigint      NOT NULL, -- of the first event that the command left
    events         integer     NOT NULL, -- that it left
    at             timestamptz NOT NULL,
    action         text        NOT NULL,
    actor_type     text        NOT NULL,
    actor          text        NOT NULL,
    role           text        NOT NULL,
    target         text        NOT NULL,
    outcome        text        NOT NULL,
    code           text,
    command_id     uuid        NOT NULL,
    correlation_id uuid        NOT NULL,
    settles        uuid,
    hash           bytea       NOT NULL,
    anchor         text,
    PRIMARY KEY (domain, partition, number)
);
CREATE INDEX audit_log_at ON audit_log (at, domain, partition, number);
CREATE INDEX audit_log_actor ON audit_log (actor, at);
CREATE INDEX audit_log_target ON audit_log (target, at);
