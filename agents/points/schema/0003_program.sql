-- What each user has that is pending, by the time at which it is unlocked; 0 where nothing of it is left.
CREATE TABLE pending (
    user_id    text        NOT NULL,
    unlocks_at timestamptz NOT NULL,
    amount     bigint      NOT NULL,
    PRIMARY KEY (user_id, unlocks_at)
);

-- What has become of points that a user had, each less what came back: in transit is what was sent less what was received. What was issued
-- follows from it and the balances, so that an award costs nothing here. `owed` was taken back and had been used.
CREATE TABLE tally (
    user_id  text   NOT NULL PRIMARY KEY,
    spent    bigint NOT NULL,
    expired  bigint NOT NULL,
    reversed bigint NOT NULL,
    adjusted bigint NOT NULL,
    transit  bigint NOT NULL,
    owed     bigint NOT NULL
);

-- What each user has earned under rules: ever, in the period of the user's tier, and in the one before.
CREATE TABLE tier (
    user_id text        NOT NULL PRIMARY KEY,
    tier    text,
    ever    bigint      NOT NULL,
    earned  bigint      NOT NULL,
    before  bigint      NOT NULL,
    until   timestamptz
);

-- The tiers of a program as they are now: a JSON array, lowest first.
CREATE TABLE tiers (
    program text    NOT NULL PRIMARY KEY,
    revision integer NOT NULL,
    tiers   text    NOT NULL,
    period  integer
);

-- All revisions of the rules of a program; `amount` is a number or a formula.
CREATE TABLE rule (
    program      text    NOT NULL,
    rule_id      text    NOT NULL,
    revision     integer NOT NULL,
    event        text    NOT NULL,
    condition    text    NOT NULL,
    amount       text    NOT NULL,
    cap_per_day  bigint,
    cap_per_user bigint,
    validity     integer,
    pending      integer,
    PRIMARY KEY (program, rule_id, revision)
);

-- Which revision of a rule counts, 0 for none; a rule that was never activated has no row.
CREATE TABLE active_rule (
    program text    NOT NULL,
    rule_id text    NOT NULL,
    revision integer NOT NULL,
    PRIMARY KEY (program, rule_id)
);
