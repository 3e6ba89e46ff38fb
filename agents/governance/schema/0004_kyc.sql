-- How far a user has come with the last attempt; decided and expired attempts leave what they were in the event log.
CREATE TABLE kyc (
    user_id text NOT NULL PRIMARY KEY,
    status text NOT NULL,
    attempt integer NOT NULL,
    started_at timestamptz NOT NULL,
    submitted_at timestamptz,
    decided_at timestamptz,
    decided_by text,
    reason text,
    retry boolean,
    expires_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX kyc_waiting ON kyc (submitted_at, user_id) WHERE status IN ('pending', 'on_hold');

-- What was handed in, as references to private media.
CREATE TABLE kyc_document (
    user_id text NOT NULL,
    attempt integer NOT NULL,
    media_id text NOT NULL,
    kind text NOT NULL,
    submitted_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, attempt, media_id)
);

-- One row for each screening; one with hits is an alert until it is cleared.
CREATE TABLE aml_screening (
    user_id text NOT NULL,
    screening_id text NOT NULL,
    about text NOT NULL,
    source text NOT NULL,
    hits text NOT NULL,
    status text NOT NULL,
    screened_at timestamptz NOT NULL,
    cleared_at timestamptz,
    cleared_by text,
    reason text,
    PRIMARY KEY (user_id, screening_id)
);
CREATE INDEX aml_open ON aml_screening (screened_at, user_id, screening_id) WHERE status = 'open';
