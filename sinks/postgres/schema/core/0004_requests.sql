-- What operators asked for parked records. Whoever asks only writes a row; the owner of the partition acts on it, in a transaction of its own under the fence.
-- A request waits until all that follows from it is done: when more records of the key wait than fit one transaction, `ran` of them are.
CREATE TABLE requests (
    id             uuid        NOT NULL PRIMARY KEY,
    agent          text        NOT NULL,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    action         text        NOT NULL CHECK (action IN ('redrive', 'skip', 'edit')),
    value          bytea,      -- the new value, of an edit
    by             text        NOT NULL,
    reason         text,
    asked_at       timestamptz NOT NULL DEFAULT now(),
    status         text        NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'done', 'refused')),
    outcome        text,       -- in words
    done_at        timestamptz,
    ran            bigint      NOT NULL DEFAULT 0,
    record_key     bytea,      -- from here on the record as it was when the owner first acted on it
    record_value   bytea,
    record_headers json,       -- [[name, hex], ...]; not null once the owner has begun
    cause          text
);
CREATE INDEX requests_waiting ON requests (agent, topic, partition, asked_at, id) WHERE status = 'waiting';
CREATE INDEX requests_record ON requests (agent, topic, partition, "offset");

-- Whoever asks wakes the owner.
CREATE FUNCTION requested() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('caravan_requests', TG_TABLE_SCHEMA);
    RETURN NULL;
END $$;
CREATE TRIGGER requested AFTER INSERT ON requests FOR EACH STATEMENT EXECUTE FUNCTION requested();

-- The records of a key run in the order of `at`: twice their offset, save that a timer, whose offset is below zero, stood `before` the record of some offset.
-- `timestamp` is the broker's, in Unix milliseconds. (The defaults are for workers of the version before, which may still run.)
ALTER TABLE parked ADD COLUMN before bigint,
    ADD COLUMN timestamp bigint NOT NULL DEFAULT extract(epoch FROM now()) * 1000,
    ADD COLUMN last_tried_at timestamptz NOT NULL DEFAULT now();
UPDATE parked p SET timestamp = extract(epoch FROM parked_at) * 1000, last_tried_at = parked_at, before = CASE WHEN "offset" < 0 THEN
    (SELECT min(f."offset") FROM parked f WHERE (f.agent, f.topic, f.partition, f.key) = (p.agent, p.topic, p.partition, p.key) AND f."offset" >= 0
        AND f.parked_at > p.parked_at) END;
UPDATE parked p SET before = (SELECT next FROM offsets o WHERE (o.agent, o.topic, o.partition) = (p.agent, p.topic, p.partition))
    WHERE "offset" < 0 AND before IS NULL;
ALTER TABLE parked ADD COLUMN at bigint NOT NULL GENERATED ALWAYS AS (coalesce(2 * before - 1, 2 * "offset")) STORED;
DROP INDEX parked_holds;
CREATE INDEX parked_holds ON parked (agent, topic, partition, key, at, command_id, "offset") WHERE holds;
