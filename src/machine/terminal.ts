// The terminal as a character backend: raw while the machine runs, and given back as it was. When standard input is not a
// terminal its bytes are input as they are. Escape keys are the multiplexer's.

import { type CharacterBackend, writeAll } from "../../devices/host/character.ts";
import { HostError, reason } from "../base/errors.ts";

/** Standard input and output of this process. */
export class Terminal implements CharacterBackend {
  readonly name = "stdio";
  readonly state = "";
  /** Whether standard input is a terminal. */
  readonly interactive: boolean;
  readonly #continued = () => this.#setRaw(true);
  #closed = false;

  /** With `signals` the keys Ctrl-C and Ctrl-\ end the run; otherwise they are input like any other. */
  constructor(private readonly signals: boolean) {
    this.interactive = Deno.stdin.isTerminal();
    if (!this.interactive) return;
    this.#setRaw(true);
    // A shell that stopped us and brings us back has set the terminal to its own liking.
    Deno.addSignalListener("SIGCONT", this.#continued);
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#closed) return null;
    const buffer = new Uint8Array(4096);
    try {
      const count = await Deno.stdin.read(buffer);
      if (count !== null && !this.#closed) return buffer.subarray(0, count);
    } catch {
      // A terminal that went away, or a closed descriptor: there is no more input.
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
    if (!this.interactive) return;
    Deno.removeSignalListener("SIGCONT", this.#continued);
    this.#setRaw(false);
  }

  #setRaw(raw: boolean): void {
    try {
      Deno.stdin.setRaw(raw, { cbreak: raw && this.signals });
    } catch {
      // The terminal is gone; there is nothing to set.
    }
  }
}
