-- Each quest with the terms of the revision that users start, as JSON; before the first one is published, of the draft.
CREATE TABLE quest (
    quest_id  text   NOT NULL PRIMARY KEY,
    author_id text   NOT NULL,
    status    text   NOT NULL,
    revision  bigint NOT NULL,
    terms     text   NOT NULL
);

CREATE INDEX quest_published ON quest (status, quest_id);

-- Each time that a user began a quest, and how that ended if it has.
CREATE TABLE run (
    user_id    text        NOT NULL,
    quest_id   text        NOT NULL,
    run        bigint      NOT NULL,
    revision   bigint      NOT NULL,
    name       text        NOT NULL,
    most       bigint      NOT NULL,  -- how often the user may complete it
    started_at timestamptz NOT NULL,
    deadline   timestamptz,
    xp         bigint      NOT NULL,
    points     bigint      NOT NULL,
    badge_id   text,
    PRIMARY KEY (user_id, quest_id, run)
);

CREATE INDEX run_of_user ON run (user_id, started_at, quest_id, run);

CREATE TABLE ending (
    user_id  text        NOT NULL,
    quest_id text        NOT NULL,
    run      bigint      NOT NULL,
    status   text        NOT NULL,  -- completed, abandoned or expired
    at       timestamptz NOT NULL,
    PRIMARY KEY (user_id, quest_id, run)
);

-- Each task of each run, in its order, and how far it is.
CREATE TABLE task (
    user_id      text    NOT NULL,
    quest_id     text    NOT NULL,
    run          bigint  NOT NULL,
    task_id      text    NOT NULL,
    position     bigint  NOT NULL,
    name         text    NOT NULL,
    optional     boolean NOT NULL,
    asked        bigint  NOT NULL,
    counted      bigint  NOT NULL,
    submitted_at timestamptz,
    done_at      timestamptz,
    PRIMARY KEY (user_id, quest_id, run, task_id)
);

-- The last proof of each task that somebody verifies; what it says is kept as long as it waits.
CREATE TABLE submission (
    user_id      text   NOT NULL,
    quest_id     text   NOT NULL,
    run          bigint NOT NULL,
    task_id      text   NOT NULL,
    author_id    text   NOT NULL,
    status       text   NOT NULL,  -- waiting, verified or rejected
    submitted_at timestamptz,
    text         text,             -- personal: sealed
    media_id     text,
    verifier_id  text,
    note         text,
    PRIMARY KEY (user_id, quest_id, run, task_id)
);

CREATE INDEX submission_of_author ON submission (author_id, status, submitted_at, user_id, quest_id, task_id);

-- The experience of each user, and what it is made of.
CREATE TABLE player (
    user_id text   NOT NULL PRIMARY KEY,
    xp      bigint NOT NULL,
    level   bigint NOT NULL
);

CREATE TABLE earning (
    user_id   text        NOT NULL,
    seq       bigint      NOT NULL,
    at        timestamptz NOT NULL,
    amount    bigint      NOT NULL,
    source    text        NOT NULL,
    source_id text        NOT NULL,
    PRIMARY KEY (user_id, seq)
);

CREATE TABLE badge (
    badge_id    text NOT NULL PRIMARY KEY,
    name        text NOT NULL,
    description text NOT NULL
);

CREATE TABLE badge_held (
    user_id  text        NOT NULL,
    badge_id text        NOT NULL,
    status   text        NOT NULL,  -- held or revoked
    at       timestamptz NOT NULL,
    source   text,
    PRIMARY KEY (user_id, badge_id)
);

-- Each challenge, and who has joined it.
CREATE TABLE challenge (
    challenge_id text        NOT NULL PRIMARY KEY,
    name         text        NOT NULL,
    event        text        NOT NULL,
    goal         bigint,
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL
);

CREATE TABLE entry (
    challenge_id text   NOT NULL,
    user_id      text   COLLATE "C" NOT NULL,  -- ranks are told by bytes, as the rules do
    status       text   NOT NULL,  -- joined, completed or left
    score        bigint NOT NULL,
    reached_at   timestamptz,
    PRIMARY KEY (challenge_id, user_id)
);

CREATE INDEX entry_by_rank ON entry (challenge_id, score DESC, reached_at, user_id);

-- Each user's streaks: the days in a row that are not over, and the most that there were.
CREATE TABLE streak (
    user_id   text   NOT NULL,
    streak_id text   NOT NULL,
    first     date,
    last      date,
    length    bigint NOT NULL,
    best      bigint NOT NULL,
    PRIMARY KEY (user_id, streak_id)
);

-- Each leaderboard, its periods, and the scores in each.
CREATE TABLE leaderboard (
    leaderboard_id text NOT NULL PRIMARY KEY,
    name           text NOT NULL,
    every          text NOT NULL
);

CREATE TABLE period (
    leaderboard_id text   NOT NULL,
    period         text   NOT NULL,
    status         text   NOT NULL,  -- open or closed
    participants   bigint NOT NULL,
    ends_at        timestamptz,
    closed_at      timestamptz,
    PRIMARY KEY (leaderboard_id, period)
);

CREATE TABLE score (
    leaderboard_id text        NOT NULL,
    period         text        NOT NULL,
    user_id        text        COLLATE "C" NOT NULL,  -- ranks are told by bytes, as the rules do
    score          bigint      NOT NULL,
    reached_at     timestamptz NOT NULL,
    PRIMARY KEY (leaderboard_id, period, user_id)
);

CREATE INDEX score_by_rank ON score (leaderboard_id, period, score DESC, reached_at, user_id);
