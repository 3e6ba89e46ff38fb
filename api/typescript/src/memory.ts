// What a client has written, so that it reads it: tokens by domain and key.

const MAX_KEYS = 1024; // in one domain; the key that was not written to for longest is forgotten first
const MAX_TOKENS = 32; // that the edge takes in one request

interface Kept {
  at: number;
  token: string;
}

/**
 * A command that began after another of its key was answered stands behind it in the topic, so its token covers both;
 * those that were under way at the same time are all kept.
 */
export class Memory {
  #time = 0;
  readonly #domains = new Map<string, { field: string; keys: Map<string, Kept[]> }>();

  /** A command is about to be sent; the moment goes to `keep`. */
  begin(): number {
    return ++this.#time;
  }

  /** A command was taken; `field` is the one of its body that is its key. */
  keep(domain: string, field: string, body: object, token: string, began: number): void {
    const { keys } = this.#domains.get(domain) ?? { keys: new Map<string, Kept[]>() };
    this.#domains.set(domain, { field, keys });
    const key = value_of(body, field) ?? "";
    const beside = (keys.get(key) ?? []).filter((kept) => kept.at > began);
    keys.delete(key); // the last one written stands last
    keys.set(key, [...beside, { at: ++this.#time, token }]);
    for (const oldest of keys.keys()) {
      if (keys.size <= MAX_KEYS) break;
      keys.delete(oldest);
    }
  }

  /** What a view with these arguments must cover: the key that it is about, or else the keys written to last. */
  of(domain: string, given: object): string[] {
    const { field = "", keys } = this.#domains.get(domain) ?? {};
    if (keys === undefined) return [];
    const key = value_of(given, field);
    const found = key === undefined ? [...keys.values()].flat() : (keys.get(key) ?? []);
    return found.map((kept) => kept.token).slice(-MAX_TOKENS);
  }
}

function value_of(given: object, field: string): string | undefined {
  const value: unknown = (given as Record<string, unknown>)[field];
  return value === undefined || value === null ? undefined : String(value);
}
