// Named pipes as a character backend: PATH.in for input and PATH.out for output, or PATH for both, made by mkfifo. We open
// both ends of each, so that opening never waits and the other side may come and go; output that nobody reads fills the
// host's buffer and is then dropped (patience.ts).

import { HostError, reason } from "../../src/base/errors.ts";
import { type CharacterBackend, openFile, type Warn } from "./character.ts";
import { PatientWriter } from "./patience.ts";

const READ_BYTES = 65536;

const isPipe = async (path: string) => await Deno.stat(path).then((info) => info.isFifo === true, () => false);

export class PipeBackend implements CharacterBackend {
  readonly name: string;
  #closed = false;
  #reading = false;
  #writing = false;
  readonly #writer: PatientWriter;

  private constructor(
    path: string,
    private readonly input: Deno.FsFile,
    /** Ends a read that waits: the host offers no other way. */
    private readonly inputEnd: Deno.FsFile,
    private readonly output: Deno.FsFile,
    /** Ends a write that waits. */
    private readonly outputEnd: Deno.FsFile,
    private readonly warn: Warn,
  ) {
    this.name = `pipe:${path}`;
    this.#writer = new PatientWriter(
      output,
      () => this.warn(`nobody reads ${this.name}: output is dropped until somebody does`),
    );
  }

  static async open(path: string, warn: Warn): Promise<PipeBackend> {
    const pair = await isPipe(`${path}.in`) && await isPipe(`${path}.out`);
    if (!pair && !await isPipe(path)) {
      const state = await Deno.stat(path).then(() => "is not a named pipe", reason);
      throw new HostError(`cannot open pipe ${path}: ${state}`);
    }
    const [into, out] = pair ? [`${path}.in`, `${path}.out`] : [path, path];
    return new PipeBackend(
      path,
      await openFile(into, { read: true, write: true }),
      await openFile(into, { write: true }),
      await openFile(out, { read: true, write: true }),
      await openFile(out, { read: true }),
      warn,
    );
  }

  get state(): string {
    return this.#writer.dropped > 0 ? `${this.#writer.dropped} bytes were dropped` : "";
  }

  async read(): Promise<Uint8Array | null> {
    const buffer = new Uint8Array(READ_BYTES);
    this.#reading = true;
    const count = await this.input.read(buffer).catch(() => null);
    this.#reading = false;
    return this.#closed || count === null ? null : buffer.subarray(0, count);
  }

  async write(data: Uint8Array): Promise<void> {
    this.#writing = true;
    try {
      await this.#writer.write(data);
    } catch (error) {
      if (!this.#closed) this.warn(`cannot write ${this.name}: ${reason(error)}`);
    }
    this.#writing = false;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#reading) this.inputEnd.writeSync(Uint8Array.of(0));
    if (this.#writing || this.#writer.stalled) this.outputEnd.readSync(new Uint8Array(READ_BYTES));
    for (const file of [this.input, this.inputEnd, this.output, this.outputEnd]) file.close();
  }
}
