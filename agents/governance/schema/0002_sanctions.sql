-- What was imposed on users, and what became of it.
CREATE TABLE sanction (
    user_id     text        NOT NULL,
    sanction_id text        NOT NULL,
    kind        text        NOT NULL,
    status      text        NOT NULL,
    reason      text        NOT NULL,
    imposed_by  text        NOT NULL,
    imposed_at  timestamptz NOT NULL,
    until       timestamptz,
    scopes      text        NOT NULL,  -- with commas between them
    ended_at    timestamptz,
    appeal      text        NOT NULL,
    text        text,                  -- of the appeal; personal
    filed_at    timestamptz,
    decided_at  timestamptz,
    decided_by  text,
    decision    text,
    PRIMARY KEY (user_id, sanction_id)
);
CREATE INDEX sanction_active ON sanction (imposed_at, user_id, sanction_id) WHERE status = 'active';
CREATE INDEX sanction_appealed ON sanction (filed_at, user_id, sanction_id) WHERE appeal = 'filed';

-- Where users stand from whom something is or was kept.
CREATE TABLE standing (
    user_id    text        NOT NULL PRIMARY KEY,
    banned     boolean     NOT NULL,
    until      timestamptz,
    restricted text        NOT NULL,  -- JSON: until when by domain, null for ever
    not_before timestamptz            -- what was given as a session before is worth nothing
);

-- The list of admins; one who is on it no longer has no `since`.
CREATE TABLE admin (
    user_id text NOT NULL PRIMARY KEY,
    since   timestamptz,
    by      text NOT NULL
);
