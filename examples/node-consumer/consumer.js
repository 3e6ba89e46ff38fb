// Reads points.events from its beginning to where it ends now, with nothing of Caravan's but the exported schemas, and prints
// what each user has:
//
//   node consumer.js --brokers 127.0.0.1:9092 --schemas ../../docs/contracts/schemas/points/events
//
// Three things make it right. Every record is held to the schema of its type and version, and an unknown one stops the program,
// for what it does not know it cannot sum. The relay may send an event again, so of each partition only numbers that rise count.
// And points are summed as BigInt, since many large amounts are more than a double holds.
import { randomUUID } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Consumer, ListOffsetTimestamps, stringDeserializers } from "@platformatic/kafka";
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";

// What an event does to what its user has. What is held is still had; a transfer leaves the sender when it starts.
const EFFECT = {
  points_awarded: 1n,
  points_expired: -1n,
  points_spent: -1n,
  points_hold_captured: -1n,
  points_transfer_started: -1n,
  points_transfer_received: 1n,
  points_transfer_returned: 1n,
};

/** Type and version -> what tells whether a record is as its schema says. */
async function contracts(folder) {
  const ajv = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true });
  formats.default(ajv);
  const found = new Map();
  for (const file of await readdir(folder)) {
    const schema = JSON.parse(await readFile(join(folder, file), "utf-8"));
    found.set(file.replace(/\.json$/, ""), ajv.compile(schema));
  }
  return found;
}

/** Takes records, each once, and only those that are what a contract says. */
class Ledger {
  records = 0;
  repeats = 0;
  #contracts;
  #last = new Map(); // partition -> the highest number
  #has = new Map(); // user -> points

  constructor(known) {
    this.#contracts = known;
  }

  take({ topic, partition, offset, value }) {
    const place = `${topic}/${partition}/${offset}`;
    const event = this.#read(place, value);
    this.records += 1;
    const last = this.#last.get(partition) ?? event.number - 1; // old ones may be deleted by age
    if (event.number <= last) {
      this.repeats += 1;
      return;
    }
    if (event.number !== last + 1) throw new Error(`${place}: number ${event.number} follows ${last}; events are missing`);
    this.#last.set(partition, event.number);
    const effect = EFFECT[event.type];
    if (effect === undefined) return;
    const { user_id: user, amount } = event.payload;
    this.#has.set(user, (this.#has.get(user) ?? 0n) + effect * BigInt(amount));
  }

  get balances() {
    return Object.fromEntries([...this.#has].sort(([one], [other]) => (one < other ? -1 : 1)));
  }

  #read(place, value) {
    const event = JSON.parse(value);
    const name = `${event.type}.v${event.schema_version}`;
    const valid = this.#contracts.get(name);
    if (valid === undefined) throw new Error(`${place}: there is no schema of ${name}; take a newer export`);
    if (!valid(event)) {
      const words = valid.errors.map((error) => `${error.instancePath || "/"} ${error.message}`);
      throw new Error(`${place}: not as ${name} says: ${words.join("; ")}`);
    }
    return event;
  }
}

/** The records of a topic up to where it ended when this began. */
async function* records(brokers, topic) {
  const consumer = new Consumer({
    clientId: "node-consumer",
    groupId: `node-consumer-${randomUUID()}`, // nobody's: nothing is committed
    bootstrapBrokers: brokers,
    deserializers: stringDeserializers,
  });
  try {
    const [starts, ends] = await Promise.all(
      [ListOffsetTimestamps.EARLIEST, ListOffsetTimestamps.LATEST].map(async (timestamp) =>
        (await consumer.listOffsets({ topics: [topic], timestamp })).get(topic),
      ),
    );
    const open = new Map(ends.map((end, partition) => [partition, end]).filter(([partition, end]) => starts[partition] < end));
    if (open.size === 0) return;
    const stream = await consumer.consume({ topics: [topic], mode: "earliest", autocommit: false, maxWaitTime: 100 });
    for await (const record of stream) {
      const end = open.get(record.partition);
      if (end === undefined || record.offset >= end) continue;
      yield record;
      if (record.offset + 1n === end) open.delete(record.partition);
      if (open.size === 0) break;
    }
    await stream.close();
  } finally {
    await consumer.close(true);
  }
}

const { values } = parseArgs({
  options: {
    brokers: { type: "string", default: "127.0.0.1:9092" },
    topic: { type: "string", default: "points.events" },
    schemas: { type: "string", default: "../../docs/contracts/schemas/points/events" },
    json: { type: "boolean", default: false },
  },
});
try {
  const ledger = new Ledger(await contracts(values.schemas));
  for await (const record of records(values.brokers.split(","), values.topic)) ledger.take(record);
  const { records: count, repeats, balances } = ledger;
  if (values.json) {
    const text = Object.fromEntries(Object.entries(balances).map(([user, points]) => [user, String(points)]));
    console.log(JSON.stringify({ records: count, repeats, balances: text }));
  } else {
    for (const [user, points] of Object.entries(balances)) console.log(`${user.padEnd(20)} ${String(points).padStart(12)}`);
    console.log(`${count} records, ${repeats} of them repeats`);
  }
} catch (error) {
  console.error(`node-consumer: ${error.message}`);
  process.exitCode = 1;
}
