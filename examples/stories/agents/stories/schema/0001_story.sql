-- One row for each story that was ever published, as it is now. A batch rewrites most rows of a page, so pages keep room for a second version of each.
CREATE TABLE story (
    story_id text NOT NULL PRIMARY KEY,
    author_id text NOT NULL,
    title text NOT NULL,
    text text NOT NULL,
    shown boolean NOT NULL,
    revision integer NOT NULL,
    changed_at timestamptz NOT NULL
) WITH (fillfactor = 45);

-- Who was ever banned.
CREATE TABLE author (
    user_id text NOT NULL PRIMARY KEY,
    hidden boolean NOT NULL
);
