// Server-sent events of an answer's body, as the standard has them. EventSource cannot send a token, so it is of no use here.

export interface Event {
  name: string;
  id: string;
  /** Absent where the stream only tells how long to stay away. */
  data?: string;
  /** Seconds. */
  retry?: number;
}

/** The events as they come. `pulse` is told of every piece, also of comments. What the end cuts short is dropped. */
export async function* events(body: ReadableStream<Uint8Array>, pulse: { beat(): void }): AsyncGenerator<Event, void, undefined> {
  const decoder = new TextDecoder();
  let [rest, name, id, data] = ["", "", "", [] as string[]];
  for await (const piece of body) {
    pulse.beat();
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines.map((one) => one.replace(/\r$/, ""))) {
      if (line === "") {
        if (data.length > 0) yield { name, id, data: data.join("\n") };
        [name, data] = ["", []];
        continue;
      }
      const [, field, value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
      if (field === "data") data.push(value);
      else if (field === "event") name = value;
      else if (field === "id") id = value;
      else if (field === "retry" && /^\d+$/.test(value)) yield { name, id, retry: Number(value) / 1000 };
    }
  }
}
