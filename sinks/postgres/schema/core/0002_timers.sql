-- When documents are due: the owner of the partition then runs the command that the document's rules name. One row a document.
CREATE TABLE timers (
    key       text    NOT NULL PRIMARY KEY, -- of the document, as in `state`
    partition integer NOT NULL,
    due       bigint  NOT NULL              -- Unix microseconds
);
CREATE INDEX timers_due ON timers (partition, due, key);
