// The client without a platform: what it tries again, what it remembers, what it asks.
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Client, EdgeError } from "../src/client.ts";
import { Memory } from "../src/memory.ts";
import { events } from "../src/sse.ts";

interface Asked {
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}
/** A status with a body (a text is sent as it is), or null: the connection is cut. */
type Reply = [number, unknown, Record<string, string>?] | null;

const RECEIPT = { command_id: "c1", status_url: "/v1/commands/c1?domain=points", token: "t1" };
const AWARD = { user_id: "u1", amount: 5 };

/** A server that gives these answers one after the other, and what it was asked. */
async function told(replies: Reply[], use: (client: Client, asked: Asked[]) => Promise<void>): Promise<void> {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    asked.push({ path: request.url ?? "", headers: request.headers, body });
    const reply = replies.shift();
    if (!reply) return void request.socket.destroy();
    const [status, content, headers] = reply;
    const type = typeof content === "string" ? "text/event-stream" : "application/json";
    response.writeHead(status, { "content-type": type, ...headers });
    response.end(typeof content === "string" ? content : JSON.stringify(content));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    await use(new Client(`http://127.0.0.1:${port}`, { token: () => "mine", patience: 20 }), asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const problem = (status: number, code: string, more = {}): Reply => [status, { status, code, detail: code, ...more }];
const code = (wanted: string) => (error: unknown) => error instanceof EdgeError && error.code === wanted;

test("a command is sent under one key until it is taken", async () => {
  const passing = [null, problem(503, "kafka_unavailable"), problem(500, "internal_error"), problem(409, "in_progress")];
  await told([...passing, [202, RECEIPT]], async (client, asked) => {
    const outcome = await client.issue("points.award_points", AWARD);
    assert.deepEqual([outcome.status, outcome.command_id, outcome.token], ["pending", "c1", "t1"]);
    assert.equal(asked.length, passing.length + 1);
    assert.equal(new Set(asked.map(({ headers }) => headers["idempotency-key"])).size, 1);
    assert.deepEqual(new Set(asked.map(({ path, body }) => path + body)), new Set([`/v1/points/award_points${JSON.stringify(AWARD)}`]));
    assert.equal(asked[0]?.headers.authorization, "Bearer mine");
  });
});

test("a no is told at once", async () => {
  const errors = [{ field: "amount", code: "int_type", message: "not a number" }];
  for (const [status, name] of [[401, "unauthorized"], [422, "invalid"], [301, "moved"]] as const) {
    await told([problem(status, name, { errors })], async (client, asked) => {
      await assert.rejects(client.issue("points.award_points", AWARD), code(name));
      assert.equal(asked.length, 1);
    });
  }
});

test("a rule may say no by any code", async () => {
  await told([problem(409, "in_progress", { ...RECEIPT, events: [], details: { left: 3 } })], async (client, asked) => {
    const outcome = await client.issue("points.award_points", AWARD, { wait: 4.2 });
    assert.deepEqual([outcome.status, outcome.code, outcome.details], ["rejected", "in_progress", { left: 3 }]);
    assert.equal(asked[0]?.headers.prefer, "wait=5");
  });
});

test("waiting asks until there is a result", async () => {
  const status = { ...RECEIPT, domain: "points", status: "pending", code: null, details: {}, events: [], token: null };
  await told([[202, RECEIPT], [200, status], null, [200, { ...status, status: "accepted" }]], async (client, asked) => {
    const outcome = await client.wait(await client.issue("points.award_points", AWARD));
    assert.deepEqual([outcome.status, outcome.token], ["accepted", "t1"]);
    assert.deepEqual(asked.slice(1).map(({ path }) => path), Array(3).fill(RECEIPT.status_url));
  });
});

test("a list is read part by part, and includes what was written", async () => {
  const part = (amount: number, next: string | null): Reply => [200, { items: [{ amount }], next }];
  await told([[202, RECEIPT], part(1, "c2"), part(2, null)], async (client, asked) => {
    await client.issue("points.award_points", AWARD);
    const amounts = [];
    for await (const { amount } of client.items("points.statement", { user_id: "u1", limit: 1 })) amounts.push(amount);
    assert.deepEqual(amounts, [1, 2]);
    const path = "/v1/points/statement/u1?limit=1";
    assert.deepEqual(asked.slice(1).map((one) => one.path), [`${path}&after=t1`, `${path}&cursor=c2&after=t1`]);
  });
});

test("a stream is begun again with its last id", async () => {
  const stream = (text: string): Reply => [200, `retry: 1\n\n${text}`];
  const last = stream('event: dropped\ndata: {"code":"too_slow"}\n\nid: 3\ndata: {"active":3}\n\n');
  const replies = [stream('id: 1\nevent: absent\ndata: null\n\nid: 2\ndata: {"active":2}\n\nid: 9\ndata: cut'), null, problem(503, "not_ready"), last];
  await told(replies, async (client, asked) => {
    const seen = [];
    for await (const state of client.live("points.balance", { user_id: "u1" }, { after: ["t1"] })) {
      seen.push(state?.active ?? null);
      if (state?.active === 3) break;
    }
    assert.deepEqual(seen, [null, 2, 3]);
    assert.deepEqual(asked.map(({ path }) => path.split("/live")[1]), ["?after=t1", "", "", ""]);
    assert.deepEqual(asked.map(({ headers }) => headers["last-event-id"]), [undefined, "2", "2", "2"]);
  });
  await told([problem(401, "unauthorized")], async (client) => {
    await assert.rejects(client.live("points.balance", { user_id: "u1" }).next(), code("unauthorized"));
  });
});

test("events are read as the standard says, however they are cut into pieces", async () => {
  const text = "retry: 250\n\n: beat\n\nid: 1\ndata: {\ndata: }\r\n\r\nevent: absent\ndata:null\n\nid: 2\n\ndata: é\n\ndata: x";
  const bytes = new TextEncoder().encode(text);
  let beats = 0;
  const pieces = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const found = await Array.fromAsync(events(pieces, { beat: () => (beats += 1) }));
  assert.deepEqual(found, [
    { name: "", id: "", retry: 0.25 },
    { name: "", id: "1", data: "{\n}" },
    { name: "absent", id: "1", data: "null" },
    { name: "", id: "2", data: "é" },
  ]);
  assert.equal(beats, bytes.length);
});

test("a client remembers what no later command covers", () => {
  const memory = new Memory();
  const keep = (user: string, token: string, began = memory.begin()) =>
    memory.keep("points", "user_id", { user_id: user }, token, began);
  keep("ann", "a1");
  const [second, third] = [memory.begin(), memory.begin()];
  keep("ann", "a3", third);
  keep("ann", "a2", second);
  keep("bob", "b1");
  assert.deepEqual(memory.of("points", { user_id: "ann" }), ["a3", "a2"]);
  assert.deepEqual(memory.of("points", { user_id: "eve" }), []);
  assert.deepEqual(memory.of("points", { other: "ann" }), ["a3", "a2", "b1"]);
  assert.deepEqual(memory.of("identity", { user_id: "ann" }), []);
  keep("ann", "a4");
  assert.deepEqual(memory.of("points", {}), ["b1", "a4"]);
  for (let number = 0; number < 1024; number += 1) keep(`k${number}`, String(number));
  assert.deepEqual(memory.of("points", { user_id: "ann" }), []);
  assert.equal(memory.of("points", {}).length, 32);
});
