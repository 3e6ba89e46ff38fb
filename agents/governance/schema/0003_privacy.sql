-- What users agree to, or agreed to, since when without a break; `channel` and `at` are of the last act.
CREATE TABLE consent (
    user_id text        NOT NULL,
    purpose text        NOT NULL,
    text_version text        NOT NULL,
    channel text        NOT NULL,
    since   timestamptz NOT NULL,
    at      timestamptz NOT NULL,
    given   boolean     NOT NULL,
    PRIMARY KEY (user_id, purpose)
);

-- The last export of each user.
CREATE TABLE data_export (
    user_id      text        NOT NULL PRIMARY KEY,
    export_id    text        NOT NULL,
    status       text        NOT NULL, -- in_progress, ready, failed, expired
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz,
    size         bigint
);

-- Their files, sealed for the user. They follow from no event: the outside that makes them is this table.
CREATE TABLE export_file (
    user_id   text NOT NULL PRIMARY KEY,
    export_id text NOT NULL,
    file      text NOT NULL -- personal
);

-- The last erasure of each user, and how far each domain is with it.
CREATE TABLE erasure (
    user_id      text        NOT NULL PRIMARY KEY,
    erasure_id   text        NOT NULL,
    status       text        NOT NULL, -- requested, asked, acknowledged, erased
    requested_at timestamptz NOT NULL,
    due_by       timestamptz NOT NULL,
    overdue      boolean     NOT NULL,
    erased_at    timestamptz
);
CREATE INDEX erasure_open ON erasure (due_by, user_id) WHERE status <> 'erased';
CREATE TABLE erasure_step (
    user_id    text        NOT NULL,
    erasure_id text        NOT NULL,
    domain     text        NOT NULL,
    status     text        NOT NULL, -- asked, deferred, completed
    reason     text,
    at         timestamptz NOT NULL,
    PRIMARY KEY (user_id, erasure_id, domain)
);
