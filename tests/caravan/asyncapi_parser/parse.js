// Parses the AsyncAPI document of the given file and prints as JSON what the parser made of it.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const problems = diagnostics
  .filter(({ severity }) => severity <= 1) // errors and warnings
  .map(({ code, path, message }) => `${code} at ${path.join("/")}: ${message}`);
const messages = document?.messages().all() ?? [];
const told = {
  problems,
  channels: document?.channels().all().map((channel) => channel.address()) ?? [],
  operations: document?.operations().all().map((one) => [one.action(), one.messages().all().map((m) => m.name())]) ?? [],
  messages: messages.map((one) => one.id()),
  examples: messages.filter((one) => one.examples().length > 0).length,
};
console.log(JSON.stringify(told));
