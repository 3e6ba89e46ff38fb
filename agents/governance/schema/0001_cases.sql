-- Each revision of a subject that was submitted.
CREATE TABLE moderation_case (
    subject   text        NOT NULL,
    revision  bigint      NOT NULL,
    kind      text        NOT NULL,
    author_id text        NOT NULL,
    status    text        NOT NULL,
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (subject, revision)
);
