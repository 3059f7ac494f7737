// What the tests of character devices share: a backend in memory, and texts as bytes.

import { BREAK, type CharacterBackend, type Input, Signal } from "../../devices/host/character.ts";

export const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
export const text = (data: Uint8Array): string => new TextDecoder("latin1").decode(data);
export const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `true`, for two seconds. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let n = 0; n < 400 && !condition(); n++) await later(5);
  if (!condition()) throw new Error(`${what}: not within two seconds`);
}

/** A backend in memory: tests type on it and look at the screen. */
export class FakeBackend implements CharacterBackend {
  readonly name = "fake";
  readonly state = "";
  screen = "";
  closed = false;
  readonly #input: (Input | null)[] = [];
  readonly #typed = new Signal();

  type(input: string | typeof BREAK | null): void {
    this.#input.push(typeof input === "string" && input !== BREAK ? bytes(input) : input as typeof BREAK | null);
    this.#typed.fire();
  }
  async read(): Promise<Input | null> {
    while (this.#input.length === 0 && !this.closed) await this.#typed.fired;
    return this.#input.shift() ?? null;
  }
  write(data: Uint8Array): Promise<void> {
    this.screen += text(data);
    return Promise.resolve();
  }
  close(): void {
    this.closed = true;
    this.#typed.fire();
  }
}

/** What `backend` gives, as text, until it is `length` long; a break is "<break>". */
export async function readText(backend: CharacterBackend, length: number): Promise<string> {
  let all = "";
  while (all.length < length) {
    const input = await backend.read();
    if (input === null) return `${all}<end>`;
    all += input === BREAK ? "<break>" : text(input);
  }
  return all;
}

/** Takes all input of `backend` as it comes, as a machine does. */
export function collect(backend: CharacterBackend): { readonly all: string; readonly ended: Promise<void> } {
  const run = async () => {
    for (let input = await backend.read(); input !== null; input = await backend.read()) {
      collected.all += input === BREAK ? "<break>" : text(input);
    }
  };
  const collected = { all: "", ended: Promise.resolve() };
  collected.ended = run();
  return collected;
}

/** Reads from a connection until `length` bytes are there, or its end. */
export async function receive(conn: Deno.Conn, length: number): Promise<Uint8Array> {
  const all = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await conn.read(all.subarray(at));
    if (count === null) return all.subarray(0, at);
    at += count;
  }
  return all;
}
