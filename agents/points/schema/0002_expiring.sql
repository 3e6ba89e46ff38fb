-- What each user has available that expires, by the time at which it does; 0 where nothing of it is left.
CREATE TABLE expiring (
    user_id    text        NOT NULL,
    expires_at timestamptz NOT NULL,
    amount     bigint      NOT NULL,
    PRIMARY KEY (user_id, expires_at)
);
