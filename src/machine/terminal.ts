// The terminal as a character backend: raw mode while the machine runs, and the escape key Ctrl-A as QEMU has it. When
// standard input is not a terminal its bytes go through as they are.

import { type CharacterBackend, writeAll } from "../../devices/host/character.ts";
import { HostError, reason } from "../base/errors.ts";

const CTRL_A = 0x01;

export const ESCAPE_HELP = [
  "",
  "Ctrl-A h       this help",
  "Ctrl-A x       quit",
  "Ctrl-A Ctrl-A  send Ctrl-A to the guest",
  "",
].join("\r\n");

/** Takes escape sequences out of what is typed. */
export class EscapeFilter {
  #escaped = false;

  constructor(private readonly actions: { readonly quit: () => void; readonly help: () => void }) {}

  /** The bytes that go to the guest. An unknown letter after Ctrl-A is swallowed with it. */
  filter(data: Uint8Array): Uint8Array {
    const out: number[] = [];
    for (const byte of data) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else out.push(byte);
        continue;
      }
      this.#escaped = false;
      if (byte === CTRL_A) out.push(byte);
      else if (byte === 0x78) this.actions.quit();
      else if (byte === 0x68) this.actions.help();
    }
    return Uint8Array.from(out);
  }
}

/** Standard input and output of this process. */
export class Terminal implements CharacterBackend {
  readonly name = "stdio";
  readonly #raw: boolean;
  readonly #escapes: EscapeFilter;
  #closed = false;

  /** `quit` is called for Ctrl-A x. */
  constructor(quit: () => void) {
    this.#escapes = new EscapeFilter({
      quit,
      help: () => Deno.stdout.writeSync(new TextEncoder().encode(ESCAPE_HELP)),
    });
    this.#raw = Deno.stdin.isTerminal();
    if (this.#raw) Deno.stdin.setRaw(true);
  }

  async read(): Promise<Uint8Array | null> {
    const buffer = new Uint8Array(4096);
    while (!this.#closed) {
      let count: number | null;
      try {
        count = await Deno.stdin.read(buffer);
      } catch {
        // A terminal that went away, or a closed descriptor: there is no more input.
        return null;
      }
      if (count === null) return null;
      const bytes = buffer.slice(0, count);
      const data = this.#raw ? this.#escapes.filter(bytes) : bytes;
      if (data.length > 0) return data;
    }
    return null;
  }

  async write(data: Uint8Array): Promise<void> {
    try {
      await writeAll(Deno.stdout, data);
    } catch (error) {
      throw new HostError(`cannot write standard output: ${reason(error)}`);
    }
  }

  /** Gives the terminal back as it was. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#raw) return;
    try {
      Deno.stdin.setRaw(false);
    } catch {
      // The terminal is gone; there is nothing to restore.
    }
  }
}
