// A typed client of the edge: commands, what became of them, views, lists and live views.
//
//   const client = new Client("http://127.0.0.1:8000", { token });
//   const outcome = await client.issue("points.award_points", { user_id: "ann", amount: 150 }, { wait: 5 });
//   const balance = await client.view("points.balance", { user_id: "ann" });   // includes it
//   for await (const entry of client.items("points.statement", { user_id: "ann" })) …
//   for await (const state of client.live("points.balance", { user_id: "ann" })) …
//
// It needs nothing but `fetch`, so it runs in Node and in browsers. A command is sent again under its Idempotency-Key until the
// edge answers, and has its effect once.

import { Memory } from "./memory.ts";
import { keys, routes, type components, type operations } from "./schema.ts";
import { events } from "./sse.ts";

type Json<R> = R extends { content: { "application/json": infer J } } ? J : never;
type Answered<K extends keyof operations> = operations[K]["responses"] extends { 200: infer R } ? Json<R> : never;
type Part<K extends keyof operations, P extends "path" | "query"> = NonNullable<operations[K]["parameters"][P]>;
type Which<Shape> = { [K in keyof operations]: operations[K] extends Shape ? K : never }[keyof operations];

type Receipt = components["schemas"]["Accepted"];
type Result = components["schemas"]["CommandStatus"];
type Problem = components["schemas"]["Problem"];

/** Every command, as `domain.command`. */
export type Command = Which<{ requestBody: unknown; responses: { 202: { content: { "application/json": Receipt } } } }>;
/** The fields of a command. */
export type Body<K extends Command> = operations[K]["requestBody"]["content"]["application/json"];
/** Every view, as `domain.view`. */
export type View = Which<{
  parameters: { query?: { after?: string } };
  responses: { 200: { content: { "application/json": unknown } } };
}>;
/** What a view shows. */
export type Shown<K extends View> = Answered<K>;
/** What a view is asked with; of a list also `limit`, the size of a part. */
export type Arguments<K extends View> = Part<K, "path"> & Omit<Part<K, "query">, "after" | "cursor">;
/** Every view that shows a list. */
export type List = { [K in View]: Shown<K> extends { items: unknown[]; next: string | null } ? K : never }[View];
/** What a list holds. */
export type Item<K extends List> = Shown<K> extends { items: (infer T)[] } ? T : never;
/** Every view that can be watched. */
export type Live = { [K in View]: `${K}.live` extends keyof operations ? K : never }[View];

/** What is known of a command that Kafka has; `token` is what reads are to cover. */
export type Outcome = Omit<Result, "token"> & { token: string; status_url: string };

/** The caller's token, or what gives one that is still good; asked before each request. */
export type Bearer = string | (() => string | Promise<string>);

/** The edge said no, or something failed. `code` is stable; `status` is 0 where there was no answer in time. */
export class EdgeError extends Error {
  override readonly name = "EdgeError";
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  /** Each wrong field of a request that is `invalid`. */
  readonly errors: NonNullable<Problem["errors"]>;

  constructor(code: string, status: number, detail: string, errors: NonNullable<Problem["errors"]> = []) {
    super([`${code}: ${detail}`, ...errors.map((error) => `${error.field}: ${error.message}`)].join("; "));
    this.code = code;
    this.status = status;
    this.detail = detail;
    this.errors = errors;
  }
}

export interface Options {
  token?: Bearer;
  /** Seconds that one request is tried. */
  patience?: number;
  /** Whether views include the commands that this client issued. */
  ownWrites?: boolean;
}

const WAIT_S = 20; // that the edge is asked to keep one request until the result is there
const ANSWER_S = 15; // that an answer may take beyond that
const ASK_S = 0.2; // between two looks at a result
const SILENCE_S = 45; // of a stream, which has a beat every 15 s
const FIRST_S = 0.1;
const LONGEST_S = 2; // between two tries
const MOST_S = 60; // that the edge may tell us to wait
const CRASHES = 3; // how often a 500 is tried again
const AGAIN = new Set([408, 429, 502, 503, 504]);
const STATES = new Set(["", "message", "absent"]); // names of events that are states
const YET = new Set(["in_progress", "not_yet_applied"]); // each a 409 that passes

interface Request {
  method: "GET" | "POST";
  headers: Record<string, string>;
  body?: string;
}

/** One caller of one edge; it has no state but what it wrote. */
export class Client {
  readonly #url: string;
  readonly #token: Bearer | undefined;
  readonly #patience: number;
  readonly #memory: Memory | undefined;

  constructor(url: string, { token, patience = 30, ownWrites = true }: Options = {}) {
    this.#url = url.replace(/\/+$/, "");
    this.#token = token;
    this.#patience = patience;
    this.#memory = ownWrites ? new Memory() : undefined;
  }

  /** Another caller of the same edge. */
  by(token: Bearer | undefined): Client {
    const ownWrites = this.#memory !== undefined;
    return new Client(this.#url, { patience: this.#patience, ownWrites, ...(token !== undefined && { token }) });
  }

  /** Issue a command; its outcome is `pending` once Kafka has it, or what became of it within `wait` seconds. */
  async issue<K extends Command>(
    command: K,
    body: Body<K>,
    { wait = 0, key = crypto.randomUUID() }: { wait?: number; key?: string } = {},
  ): Promise<Outcome> {
    const ends = now() + wait;
    const began = this.#memory?.begin() ?? 0;
    const headers = { "content-type": "application/json", "idempotency-key": key, ...(await this.#bearer()) };
    const asked = Math.ceil(Math.min(wait, WAIT_S));
    const prefer = asked > 0 ? { prefer: `wait=${asked}` } : undefined;
    const request: Request = { method: "POST", headers: { ...headers, ...prefer }, body: JSON.stringify(body) };
    const answer = await this.#ask(routes[command], request, this.#deadline(), asked);
    const told = await told_by<Problem & Result & Receipt>(answer);
    if (!("command_id" in told) || !(answer.ok || "events" in told)) throw error_of(answer, told);
    const [domain = ""] = command.split(".");
    const outcome = outcome_of(told, answer.ok ? undefined : "rejected", { domain, status_url: "", token: "" });
    this.#memory?.keep(domain, keys[command] ?? "", body, outcome.token, began);
    return wait > WAIT_S ? this.wait(outcome, ends - now()) : outcome;
  }

  /** What became of a command, asked until there is a result; still `pending` when the seconds are over. */
  async wait(outcome: Outcome, seconds: number = this.#patience): Promise<Outcome> {
    const ends = now() + seconds;
    let found = outcome;
    while (found.status === "pending" && now() < ends) {
      const answer = await this.#ask(found.status_url, { method: "GET", headers: await this.#bearer() }, ends);
      const told = await told_by<Problem & Result>(answer);
      if (!answer.ok) throw error_of(answer, told);
      found = outcome_of(told, undefined, found);
      if (found.status === "pending") await sleep(Math.min(ASK_S, Math.max(0, ends - now())));
    }
    return found;
  }

  /** What a view shows. It includes what this client wrote, or covers the tokens of `after` instead; none: whatever there is. */
  async view<K extends View>(view: K, given: Arguments<K>, { after }: { after?: string[] } = {}): Promise<Shown<K>> {
    return this.#read(view, given, after);
  }

  /** All items of a list, in order, read part by part as they are wanted. */
  async *items<K extends List>(view: K, given: Arguments<K>, { after }: { after?: string[] } = {}) {
    let cursor: string | null | undefined;
    do {
      const page: { items: unknown[]; next: string | null } = await this.#read(view, { ...given, cursor }, after);
      for (const item of page.items) yield item as Item<K>;
      cursor = page.next;
    } while (cursor != null);
  }

  /**
   * The states of a view as they come, null where there is nothing (yet, or any more). It comes back by itself with the id of
   * the last event, so nothing older is shown; `seen` is told each id, for a later stream `since` it. Leave the loop, or abort, to end it.
   */
  async *live<K extends Live>(
    view: K,
    given: Arguments<K>,
    { since = "", after, seen, signal }: { since?: string; after?: string[]; seen?: (id: string) => void; signal?: AbortSignal } = {},
  ): AsyncGenerator<Shown<K> | null, void, undefined> {
    const covering = this.#covering(view, given, after);
    let [last, pause, retry, heard] = [since, FIRST_S, 1, now()];
    for (;;) {
      let words: EdgeError;
      let least = 0;
      const quiet = new Quiet(signal);
      try {
        const path = path_of(`${routes[view]}/live`, { ...given, after: last ? undefined : covering });
        const headers = { accept: "text/event-stream", ...(await this.#bearer()), ...(last && { "last-event-id": last }) };
        const answer = await fetch(this.#url + path, { headers, signal: quiet.signal, redirect: "manual" });
        if (!answer.ok || answer.body === null) {
          const told = await told_by<Problem>(answer);
          words = error_of(answer, told);
          if (!passing(answer, told) && answer.status !== 500) throw words;
          least = retry_after(answer);
        } else {
          for await (const event of events(answer.body, quiet)) {
            if (event.retry !== undefined) retry = event.retry;
            if (event.data === undefined || !STATES.has(event.name)) continue; // others tell why the stream ends
            if (event.id) last = event.id;
            seen?.(last);
            yield event.name === "absent" ? null : (JSON.parse(event.data) as Shown<K>);
            pause = FIRST_S;
          }
          heard = now();
          words = unreachable(this.#url, "the stream ended");
        }
      } catch (error) {
        if (error instanceof EdgeError || signal?.aborted) throw error;
        if (quiet.heard > heard) heard = quiet.heard;
        words = unreachable(this.#url, String(error));
      } finally {
        quiet.end();
      }
      const seconds = Math.max(pause + Math.random() * retry, least); // not all come back at the same moment
      if (now() + seconds > heard + this.#patience) throw words;
      await sleep(seconds);
      pause = Math.min(pause * 2, LONGEST_S);
    }
  }

  async #read(view: View, given: object, after: string[] | undefined) {
    const path = path_of(routes[view], { ...given, after: this.#covering(view, given, after) });
    const answer = await this.#ask(path, { method: "GET", headers: await this.#bearer() }, this.#deadline());
    if (!answer.ok) throw error_of(answer, await told_by<Problem>(answer));
    return (await answer.json()) as never;
  }

  #covering(view: View, given: object, after: string[] | undefined): string | undefined {
    const tokens = after ?? this.#memory?.of(view.split(".")[0] ?? "", given) ?? [];
    return tokens.length > 0 ? tokens.join(",") : undefined;
  }

  async #bearer(): Promise<Record<string, string>> {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    return token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  #deadline(): number {
    return now() + this.#patience;
  }

  /** Ask until there is an answer worth keeping, or the time is over; then the last one. */
  async #ask(path: string, request: Request, deadline: number, wait = 5): Promise<Response> {
    let [pause, crashes] = [FIRST_S, 0];
    for (;;) {
      let answer: Response | undefined;
      let least = 0;
      let words = "";
      try {
        const signal = AbortSignal.timeout((wait + ANSWER_S) * 1000);
        const told = await fetch(this.#url + path, { ...request, signal, redirect: "manual" });
        answer = await whole(told);
        if (answer.status === 500) crashes += 1;
        const again = passing(answer, await told_by<Problem>(answer.clone())) || (answer.status === 500 && crashes < CRASHES);
        if (!again) return answer;
        least = retry_after(answer);
      } catch (error) {
        answer = undefined;
        words = error instanceof Error && error.cause ? String(error.cause) : String(error);
      }
      const seconds = Math.max(pause, least);
      if (now() + seconds > deadline) {
        if (answer !== undefined) return answer;
        throw unreachable(this.#url, words);
      }
      await sleep(seconds);
      pause = Math.min(pause * 2, LONGEST_S);
    }
  }
}

/** Aborts a stream that is silent for too long: its connection is dead, though nobody said so. */
class Quiet {
  heard = now();
  readonly #own = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly signal: AbortSignal;

  constructor(theirs: AbortSignal | undefined) {
    this.signal = theirs === undefined ? this.#own.signal : AbortSignal.any([theirs, this.#own.signal]);
    this.beat();
  }

  beat(): void {
    this.heard = now();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#own.abort(new Error(`nothing was heard for ${SILENCE_S} s`)), SILENCE_S * 1000);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#own.abort();
  }
}

function outcome_of(
  told: Partial<Result> & { status_url?: string },
  status: Outcome["status"] | undefined,
  before: { domain: string; status_url: string; token: string },
): Outcome {
  return {
    command_id: told.command_id ?? "",
    domain: before.domain,
    status: status ?? told.status ?? "pending",
    code: told.code ?? null,
    details: told.details ?? {},
    events: told.events ?? [],
    token: told.token ?? before.token,
    status_url: told.status_url ?? before.status_url,
  };
}

/** The answer, read whole: a connection that is cut in its midst is a failure of the request. */
async function whole(answer: Response): Promise<Response> {
  return new Response(await answer.arrayBuffer(), { status: answer.status, headers: answer.headers });
}

async function told_by<T>(answer: Response): Promise<Partial<T>> {
  try {
    return (await answer.json()) as Partial<T>;
  } catch {
    return {}; // some proxy's page
  }
}

function error_of(answer: Response, told: Partial<Problem>): EdgeError {
  const { status } = answer;
  return new EdgeError(told.code ?? `http_${status}`, status, told.detail ?? `status ${status}`, told.errors);
}

function unreachable(url: string, words: string): EdgeError {
  return new EdgeError("unreachable", 0, `${url} does not answer (${words})`);
}

/** Whether asking again may have another answer. A rule may have any code, and refuse with 429; but then there are events. */
function passing(answer: Response, told: Partial<Problem>): boolean {
  if ("events" in told) return false;
  return AGAIN.has(answer.status) || (answer.status === 409 && YET.has(told.code ?? ""));
}

function retry_after(answer: Response): number {
  const told = answer.headers.get("retry-after") ?? "";
  return /^\d+$/.test(told) ? Math.min(Number(told), MOST_S) : 0;
}

/** A path with its parameters filled in, and the others as its query. */
function path_of(route: string, given: Record<string, unknown>): string {
  const query = new URLSearchParams();
  const names = new Set<string>();
  const path = route.replace(/\{(\w+)\}/g, (_, name: string) => {
    names.add(name);
    if (given[name] === undefined || given[name] === "") throw new TypeError(`${name} is missing, and stands in the path`);
    return encodeURIComponent(String(given[name]));
  });
  for (const [name, value] of Object.entries(given)) {
    if (!names.has(name) && value !== undefined && value !== null) query.set(name, String(value));
  }
  return query.size > 0 ? `${path}?${query}` : path;
}

function now(): number {
  return performance.now() / 1000;
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
