-- Who the users are. Texts marked personal are sealed.
CREATE TABLE profile (
    user_id       text        NOT NULL PRIMARY KEY,
    email         text,                 -- personal
    phone         text,                 -- personal
    display_name  text,                 -- personal
    bio           text,                 -- personal
    time_zone     text,
    language      text,
    registered_at timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

-- Whose each login is: the hash of an address or a number. One that was claimed and released is nobody's.
CREATE TABLE login (
    login   text        NOT NULL PRIMARY KEY,
    kind    text,
    user_id text,
    since   timestamptz NOT NULL
);
