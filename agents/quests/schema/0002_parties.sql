-- Each party for a quest, and everybody who is in it or was asked.
CREATE TABLE party (
    owner_id text   NOT NULL,
    party_id text   NOT NULL,
    quest_id text   NOT NULL,
    name     text   NOT NULL,  -- of the quest
    status   text   NOT NULL,  -- gathering, started, completed, failed or disbanded
    least    bigint NOT NULL,
    most     bigint NOT NULL,
    needed   bigint,           -- once it has set out
    PRIMARY KEY (owner_id, party_id)
);

CREATE TABLE party_member (
    owner_id   text        NOT NULL,
    party_id   text        NOT NULL,
    user_id    text        NOT NULL,
    status     text        NOT NULL,  -- invited, declined, expired, joined, left or completed
    at         timestamptz NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (owner_id, party_id, user_id)
);

CREATE INDEX party_of_user ON party_member (user_id, at, owner_id, party_id);
