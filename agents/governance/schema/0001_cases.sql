-- What was submitted of each revision of a subject; texts may be sealed for their author.
CREATE TABLE moderated_content (
    subject   text   NOT NULL,
    revision  bigint NOT NULL,
    title     text,
    text      text,
    media_ids text   NOT NULL,  -- with blanks between them
    PRIMARY KEY (subject, revision)
);

-- Each look at a revision. Of one revision at most one is undecided.
CREATE TABLE moderation_case (
    subject      text        NOT NULL,
    revision     bigint      NOT NULL,
    number       bigint      NOT NULL,
    kind         text,
    author_id    text,
    origin       text        NOT NULL,  -- submission or reports
    status       text        NOT NULL,  -- open, claimed, escalated, approved or rejected
    opened_at    timestamptz NOT NULL,
    moderator_id text,                  -- who claimed it
    waiting      text        NOT NULL,  -- the checks that are not made yet, with blanks between them
    flags        text        NOT NULL,  -- what checks found, with blanks between
    reports      bigint      NOT NULL,  -- those that are not dismissed
    approved_by  text,
    decided_by   text,
    decided_at   timestamptz,           -- null while it is undecided
    reason       text,
    appeal       text        NOT NULL,  -- none, filed, upheld or overturned
    PRIMARY KEY (subject, revision, number)
);

CREATE INDEX moderation_case_waiting ON moderation_case (opened_at, subject, revision) WHERE decided_at IS NULL;
CREATE INDEX moderation_case_of_author ON moderation_case (author_id, opened_at, subject, revision, number);
CREATE INDEX moderation_case_appealed ON moderation_case (subject, revision, number) WHERE appeal = 'filed';

-- What happened to the cases of a subject, in its order; `words` are a reason, or sealed for who wrote them.
CREATE TABLE case_event (
    subject  text        NOT NULL,
    seq      bigint      NOT NULL,
    revision bigint      NOT NULL,
    number   bigint      NOT NULL,
    at       timestamptz NOT NULL,
    event    text        NOT NULL,
    by       text,
    words    text
);

CREATE INDEX case_event_of_subject ON case_event (subject, seq);

-- Each report, and those that were dismissed. A report is open as long as its case is undecided and it was not dismissed.
CREATE TABLE report (
    subject     text        NOT NULL,
    revision    bigint      NOT NULL,
    reporter_id text        NOT NULL,
    number      bigint      NOT NULL,
    category    text        NOT NULL,
    note        text,
    at          timestamptz NOT NULL,
    PRIMARY KEY (subject, revision, reporter_id)
);

CREATE INDEX report_of_case ON report (subject, revision, number);

CREATE TABLE dismissal (
    subject      text        NOT NULL,
    revision     bigint      NOT NULL,
    reporter_id  text        NOT NULL,
    number       bigint      NOT NULL,
    moderator_id text        NOT NULL,
    note         text,
    at           timestamptz NOT NULL,
    PRIMARY KEY (subject, revision, reporter_id)
);

-- What authors said against rejections.
CREATE TABLE appeal (
    subject   text        NOT NULL,
    revision  bigint      NOT NULL,
    number    bigint      NOT NULL,
    author_id text        NOT NULL,
    text      text        NOT NULL,
    filed_at  timestamptz NOT NULL,
    PRIMARY KEY (subject, revision, number)
);

-- What the checks go by.
CREATE TABLE moderation_list (
    list_id text NOT NULL PRIMARY KEY,
    of      text NOT NULL,  -- words or links
    entries text NOT NULL   -- as JSON; a list without any is no more
);

CREATE TABLE moderation_kind (
    kind          text    NOT NULL PRIMARY KEY,
    automatic     boolean NOT NULL,
    most_per_hour bigint  NOT NULL
);
