// The multiplexer: several front ends (a serial port, consoles, the monitor) on one character backend. One of them has the
// input; the output of all goes out. Keys after the escape key (Ctrl-A) are for the multiplexer, as in QEMU.

import { BREAK, type CharacterBackend, type Input, Signal } from "./character.ts";

/** Ctrl-A. */
export const ESCAPE_KEY = 0x01;
/** Input that a front end has not taken; the host keeps more. */
const QUEUE_BYTES = 65536;

export interface MuxSurroundings {
  /** The key x: the user wants to leave. */
  readonly quit: () => void;
  /** Milliseconds of any clock that goes on. */
  readonly nowMs: () => number;
  /** The byte that begins an escape; 0 for none. */
  readonly escapeKey: number;
}

const keyName = (byte: number) => byte >= 1 && byte <= 26 ? `Ctrl-${String.fromCharCode(0x40 + byte)}` : `byte ${byte}`;

export function escapeHelp(escapeKey: number): string {
  const key = keyName(escapeKey),
    rows = [
      ["h", "this help"],
      ["x", "quit"],
      ["b", "send a break (magic SysRq)"],
      ["c", "switch to the next console"],
      ["t", "timestamps on and off"],
      [key, `send ${key} to the guest`],
    ];
  return ["", ...rows.map(([typed, what]) => `${key} ${typed!.padEnd(key.length)}  ${what}`), ""].join("\r\n");
}

/** What is typed, in order: input for whoever has it, and keys after the escape key. */
export type Typed = Input | { readonly key: string };

/** Takes escapes out of what is typed; one may be cut in two. */
export class EscapeFilter {
  #escaped = false;
  constructor(private readonly escapeKey: number = ESCAPE_KEY) {}

  filter(data: Uint8Array): Typed[] {
    const typed: Typed[] = [];
    let bytes: number[] = [];
    const flush = () => {
      if (bytes.length > 0) typed.push(Uint8Array.from(bytes));
      bytes = [];
    };
    for (const byte of data) {
      if (!this.#escaped && byte === this.escapeKey && byte !== 0) this.#escaped = true;
      else if (!this.#escaped || byte === this.escapeKey) {
        this.#escaped = false;
        bytes.push(byte);
      } else {
        this.#escaped = false;
        flush();
        typed.push({ key: String.fromCharCode(byte) });
      }
    }
    flush();
    return typed;
  }
}

/** Puts the time in front of every line. */
class Timestamps {
  #startMs: number | null = null;
  #lineStart = true;

  toggle(nowMs: number): void {
    this.#startMs = this.#startMs === null ? nowMs : null;
    this.#lineStart = false;
  }

  apply(data: Uint8Array, nowMs: number): Uint8Array {
    const startMs = this.#startMs;
    if (startMs === null) return data;
    const stamp = new TextEncoder().encode(`[${new Date(nowMs - startMs).toISOString().slice(11, 23)}] `);
    return Uint8Array.from([...data].flatMap((byte) => {
      const start = this.#lineStart;
      this.#lineStart = byte === 0x0a;
      return start ? [...stamp, byte] : [byte];
    }));
  }
}

/** One end for a serial port, a console or the monitor. */
class FrontEnd implements CharacterBackend {
  readonly #queue: Input[] = [];
  #queuedBytes = 0;
  readonly #changed = new Signal();

  constructor(readonly name: string, private readonly mux: CharacterMux, readonly onFocus: (has: boolean) => void) {}

  get state(): string {
    return this.mux.focused === this.name ? "has the input" : "";
  }
  get full(): boolean {
    return this.#queuedBytes >= QUEUE_BYTES;
  }
  /** Resolves when the queue changes. */
  get changed(): Promise<void> {
    return this.#changed.fired;
  }

  put(input: Input): void {
    this.#queue.push(input);
    this.#queuedBytes += input.length;
    this.#changed.fire();
  }

  async read(): Promise<Input | null> {
    for (;;) {
      const input = this.#queue.shift();
      if (input !== undefined) {
        this.#queuedBytes -= input.length;
        this.#changed.fire();
        return input;
      }
      if (this.mux.inputEnded) return null;
      await this.#changed.fired;
    }
  }

  /** Tells whoever reads that the input has ended. */
  wake(): void {
    this.#changed.fire();
  }
  write(data: Uint8Array): Promise<void> {
    return this.mux.write(data);
  }
  /** A front end lives as long as its multiplexer. */
  close(): void {}
}

export class CharacterMux {
  readonly #frontEnds: FrontEnd[] = [];
  #focus = 0;
  #inputEnded = false;
  #started = false;
  readonly #escapes: EscapeFilter;
  readonly #timestamps = new Timestamps();
  /** Front ends write at the same time; the backend has one writer. */
  #writing: Promise<void> = Promise.resolve();
  /** A text of ours is on its way out. */
  #speaking = false;

  constructor(private readonly base: CharacterBackend, private readonly around: MuxSurroundings) {
    this.#escapes = new EscapeFilter(around.escapeKey);
  }

  /** The name of the front end that has the input. */
  get focused(): string | null {
    return this.#frontEnds[this.#focus]?.name ?? null;
  }
  get inputEnded(): boolean {
    return this.#inputEnded;
  }

  /** A new front end; the first has the input. `onFocus` is told when it comes and goes. */
  attach(name: string, onFocus: (has: boolean) => void = () => {}): CharacterBackend {
    const frontEnd = new FrontEnd(name, this, onFocus);
    this.#frontEnds.push(frontEnd);
    if (this.#frontEnds.length === 1) onFocus(true);
    if (!this.#started) {
      this.#started = true;
      void this.#distribute();
    }
    return frontEnd;
  }

  write(data: Uint8Array): Promise<void> {
    const written = this.#writing.then(() => this.base.write(this.#timestamps.apply(data, this.around.nowMs())));
    this.#writing = written.catch(() => {});
    return written;
  }

  close(): void {
    this.base.close();
    this.#end();
  }

  async #distribute(): Promise<void> {
    for (let input = await this.base.read(); input !== null && !this.#inputEnded; input = await this.base.read()) {
      for (const typed of input === BREAK ? [BREAK] as const : this.#escapes.filter(input)) {
        if (typeof typed === "object" && "key" in typed) await this.#act(typed.key);
        else await this.#deliver(typed);
      }
    }
    this.#end();
  }

  async #deliver(input: Input): Promise<void> {
    const frontEnd = this.#frontEnds[this.#focus]!;
    while (frontEnd.full && !this.#inputEnded) await frontEnd.changed;
    frontEnd.put(input);
  }

  /** Other keys do nothing, and the guest does not see them. */
  async #act(key: string): Promise<void> {
    switch (key) {
      case "x":
        this.around.quit();
        break;
      case "h":
      case "?":
        this.#say(escapeHelp(this.around.escapeKey));
        break;
      case "b":
        await this.#deliver(BREAK);
        break;
      case "t":
        this.#timestamps.toggle(this.around.nowMs());
        break;
      case "c":
        this.#switch();
        break;
    }
  }

  #switch(): void {
    if (this.#frontEnds.length < 2) return;
    this.#frontEnds[this.#focus]!.onFocus(false);
    this.#focus = (this.#focus + 1) % this.#frontEnds.length;
    this.#say(`\r\n-- ${this.focused} --\r\n`);
    this.#frontEnds[this.#focus]!.onFocus(true);
  }

  /** A text of the multiplexer's own; while the last is still on its way, it is left out. */
  #say(text: string): void {
    if (this.#speaking) return;
    this.#speaking = true;
    this.write(new TextEncoder().encode(text)).catch(() => {}).finally(() => this.#speaking = false);
  }

  #end(): void {
    this.#inputEnded = true;
    for (const frontEnd of this.#frontEnds) frontEnd.wake();
  }
}
