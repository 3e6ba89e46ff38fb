-- The core's tables; they stand in each domain's own schema.

-- Where each agent stands on each partition of its topic. `next` is the position, moved only by a fenced update;
-- `number` the last number given to an event (decider) or seen on one (policy, projection); `relayed` the last number that Kafka has.
CREATE TABLE offsets (
    agent      text    NOT NULL,
    topic      text    NOT NULL,
    partition  integer NOT NULL,
    next       bigint  NOT NULL DEFAULT 0,
    epoch      bigint  NOT NULL DEFAULT 0,
    owner      text    NOT NULL DEFAULT '',
    number     bigint  NOT NULL DEFAULT 0,
    relayed    bigint  NOT NULL DEFAULT 0,
    duplicates bigint  NOT NULL DEFAULT 0, -- records dropped because their id was in the inbox
    last_id    text,                       -- id of the record at next - 1
    partitions integer,
    stopped    text,                       -- why the owner stopped this partition, and the mend
    moved_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent, topic, partition)
) WITH (fillfactor = 50);

-- The result of every command, which is also the inbox: an id is here once. Ids carry their time, so ranges of ids are ranges of time.
CREATE TABLE results (
    command_id uuid    NOT NULL,
    status     text    NOT NULL,  -- accepted, rejected, pending
    code       text,
    details    json,
    events     json    NOT NULL,  -- [[event_id, type], ...]
    hash       text    NOT NULL,
    actor      text    NOT NULL,  -- "user:u1"
    partition  integer NOT NULL,
    "offset"   bigint  NOT NULL,
    PRIMARY KEY (command_id)
) PARTITION BY RANGE (command_id);
CREATE TABLE results_default PARTITION OF results DEFAULT;

-- Events decided and not yet known to be in Kafka. `more`: the next number belongs to the same command and to the same record batch.
CREATE TABLE outbox (
    partition   integer NOT NULL,
    number      bigint  NOT NULL,
    key         text    NOT NULL,
    value       bytea   NOT NULL,
    more        boolean NOT NULL,
    traceparent text,
    PRIMARY KEY (partition, number)
);

-- Records that could not be processed, as they were. One that `holds` keeps later records of its key waiting behind it.
CREATE TABLE parked (
    agent      text    NOT NULL,
    topic      text    NOT NULL,
    partition  integer NOT NULL,
    "offset"   bigint  NOT NULL,
    key        bytea,
    value      bytea,
    headers    json    NOT NULL,  -- [[name, hex], ...]
    cause      text    NOT NULL,
    error      text    NOT NULL,
    command_id uuid,
    actor      text,              -- who issued it, when that is known
    holds      boolean NOT NULL,
    attempts   integer NOT NULL DEFAULT 1,
    parked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (agent, topic, partition, "offset")
);
CREATE INDEX parked_holds ON parked (agent, topic, partition, key) WHERE holds;
CREATE INDEX parked_command ON parked (command_id) WHERE command_id IS NOT NULL;

-- The documents of the domain's table. `replaces` is the version that the writer had read.
CREATE TABLE state (
    key      text     NOT NULL PRIMARY KEY,
    version  bigint   NOT NULL,
    replaces bigint   NOT NULL,
    rules    integer  NOT NULL,
    at       bigint   NOT NULL,  -- the key's last `now`, Unix microseconds
    data     json     NOT NULL
) WITH (fillfactor = 45); -- a batch rewrites most rows of a page: the new versions fit beside the old, and no index is touched
