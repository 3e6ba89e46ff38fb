-- Calls to the outside that effects owe, until what came of them is told. The calls of a key are made one after the other, in the order of `number`.
-- A parked one keeps the later ones of its key waiting. Operators redrive it (it is made again, or what came of it is told again) or skip it (it is let go)
-- by a row in `requests`.
CREATE TABLE effects (
    agent     text    NOT NULL,
    partition integer NOT NULL,
    number    bigint  NOT NULL, -- of the event
    "offset"  bigint  NOT NULL,
    key       bytea   NOT NULL,
    value     bytea   NOT NULL,
    headers   json    NOT NULL, -- [[name, hex], ...]
    intent    json    NOT NULL,
    first     boolean NOT NULL, -- no earlier one of its key is here
    due       bigint  NOT NULL, -- Unix microseconds
    status    text    NOT NULL, -- waiting, claimed (perhaps done), answered, parked
    unknown   boolean NOT NULL, -- an earlier attempt may have been done
    attempts  integer NOT NULL,
    epoch     bigint  NOT NULL, -- of the owner who claimed it last
    outcome   json,
    error     text,             -- of the last attempt
    PRIMARY KEY (agent, partition, number)
);
CREATE INDEX effects_key ON effects (key, agent, partition, number);
CREATE INDEX effects_due ON effects (agent, partition, due, number) WHERE first AND status <> 'parked';
