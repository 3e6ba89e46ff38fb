-- The double-entry ledger: `amount` points went from account `debit` to account `credit`. The statement is a range of its key.
CREATE TABLE ledger (
    user_id   text        NOT NULL,
    seq       bigint      NOT NULL,
    at        timestamptz NOT NULL,
    kind      text        NOT NULL,
    debit     text        NOT NULL,
    credit    text        NOT NULL,
    amount    bigint      NOT NULL,
    reference text,
    note      text,                 -- personal: sealed
    PRIMARY KEY (user_id, seq)
);

-- What each user has by the ledger; a batch rewrites most rows of a page, so pages keep room for a second version of each.
CREATE TABLE balance (
    user_id   text   NOT NULL PRIMARY KEY,
    available bigint NOT NULL,
    held      bigint NOT NULL
) WITH (fillfactor = 45);
