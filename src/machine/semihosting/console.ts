// The console of semihosting calls, and of `:tt`: bytes over a port as those of consoles, so that input passes the machine's
// input gate. Unlike a console it has an end of input, for which there is a mark among the bytes.

import { BREAK, type CharacterBackend, type Input, writeAll } from "../../../devices/host/character.ts";
import type { PortBackend } from "../../../devices/virtio/console_backend.ts";
import { HostError, reason } from "../../base/errors.ts";
import type { Handle } from "./handles.ts";
import type { CallMemory } from "./memory.ts";
import { at, ERROR, type Progress } from "./progress.ts";

/** A mark stands twice for itself, and before END for the end. */
const MARK = 0xff, END = 1;
/** Bytes that are moved between two looks at the room there is. */
const CHUNK_BYTES = 4096;

/** Daemon: `backend` with the end of its input marked. */
export class EndMarked implements CharacterBackend {
  #ended = false;
  constructor(readonly backend: CharacterBackend) {}
  get name(): string {
    return this.backend.name;
  }
  get state(): string {
    return this.backend.state;
  }
  async read(): Promise<Input | null> {
    if (this.#ended) return null;
    const input = await this.backend.read();
    if (input === null) {
      this.#ended = true;
      return Uint8Array.of(MARK, END);
    }
    if (input === BREAK || !input.includes(MARK)) return input;
    return Uint8Array.from([...input].flatMap((byte) => byte === MARK ? [MARK, MARK] : [byte]));
  }
  write(data: Uint8Array): Promise<void> {
    return this.backend.write(data);
  }
  close(): void {
    this.backend.close();
  }
}

/** Daemon: standard error or output of this process, and standard input if nobody else has it. */
export class StandardStream implements CharacterBackend {
  readonly state = "";
  constructor(readonly name: "stdout" | "stderr", private readonly reads: boolean) {}
  async read(): Promise<Uint8Array | null> {
    if (!this.reads) return null;
    const buffer = new Uint8Array(CHUNK_BYTES);
    try {
      const count = await Deno.stdin.read(buffer);
      return count === null ? null : buffer.subarray(0, count);
    } catch {
      // A terminal that went away, or a closed descriptor: there is no more input.
      return null;
    }
  }
  async write(data: Uint8Array): Promise<void> {
    try {
      await writeAll(Deno[this.name], data);
    } catch (error) {
      throw new HostError(`cannot write ${this.name}: ${reason(error)}`);
    }
  }
  close(): void {}
}

/** Machine: the console. */
export class SemihostingConsole {
  #input: Uint8Array = new Uint8Array(0);
  #marked = false;
  #ended = false;

  /** Null: what is written goes nowhere, and there is no input. */
  constructor(readonly port: PortBackend | null) {}

  *write(data: Uint8Array): Progress<void> {
    const { port } = this;
    for (let done = 0; port !== null && done < data.length;) {
      done += port.transmit(data.subarray(done));
      port.flush();
      if (done < data.length) yield () => port.hasRoom;
    }
  }

  /** Up to `count` bytes, at least one unless the input has ended. It is taken between slices only, so that a log repeats it. */
  *read(count: number): Progress<Uint8Array> {
    const { port } = this;
    while (port !== null && this.#input.length === 0 && !this.#ended) {
      yield () => port.hasInput;
      const record = this.#input.length === 0 ? port.receive() : null;
      if (record !== null) this.#take(record);
    }
    const data = this.#input.subarray(0, count);
    this.#input = this.#input.subarray(data.length);
    return data;
  }
  #take(record: Uint8Array): void {
    const bytes: number[] = [];
    for (const byte of record) {
      if (byte === MARK && !this.#marked) {
        this.#marked = true;
        continue;
      }
      if (this.#marked && byte === END) this.#ended = true;
      else bytes.push(byte);
      this.#marked = false;
    }
    this.#input = Uint8Array.from(bytes);
  }
}

/** `:tt` */
export class ConsoleHandle implements Handle {
  constructor(readonly console: SemihostingConsole, readonly direction: "in" | "out") {}

  *read(memory: CallMemory, address: bigint, count: number): Progress<number> {
    if (this.direction === "out") return -ERROR.EBADF;
    if (count === 0) return 0;
    const bytes = yield* this.console.read(Math.min(count, CHUNK_BYTES));
    return memory.write(address, bytes) < bytes.length ? -ERROR.EFAULT : bytes.length;
  }
  *write(memory: CallMemory, address: bigint, count: number): Progress<number> {
    if (this.direction === "in") return -ERROR.EBADF;
    let done = 0;
    while (done < count) {
      const chunk = memory.read(BigInt.asUintN(64, address + BigInt(done)), Math.min(CHUNK_BYTES, count - done));
      if (chunk.length === 0) return done > 0 ? done : -ERROR.EFAULT;
      yield* this.console.write(chunk);
      done += chunk.length;
    }
    return done;
  }
  seek(): Progress<number> {
    return at(-ERROR.ESPIPE);
  }
  length(): Progress<number> {
    return at(0);
  }
  isTerminal(): Progress<number> {
    return at(1);
  }
  close(): Progress<number> {
    return at(0);
  }
}
