// Character backends: the host's end of a serial port or console. A device's core never sees them; the daemon moves bytes
// between them and the byte rings. This file has the interface and the plain ones; the others have files of their own.
//
// What happens to output that the host does not take: a file that cannot be written is told of once and its output is
// dropped; sockets, pipes and pseudo-terminals wait for a slow reader and drop what comes after a stalled one
// (patience.ts); with nobody there, output is dropped; a terminal or pipe on standard output is waited for.

import { HostError, reason } from "../../src/base/errors.ts";

/** A break in the stream of input: the line held low, or the key of a multiplexer that stands for it. */
export const BREAK = "break";
/** What comes from the host, in order. */
export type Input = Uint8Array | typeof BREAK;

/** Where bytes come from and go to. One reader and one writer at a time. */
export interface CharacterBackend {
  /** As messages call it: `tcp:127.0.0.1:1234`. */
  readonly name: string;
  /** What can be said about its state now, for the monitor; "" for nothing. */
  readonly state: string;
  /** The next input from the host; null when there will never be more. */
  read(): Promise<Input | null>;
  /** Resolves when the host has taken the bytes, or when there is nobody to take them. Throws HostError. */
  write(data: Uint8Array): Promise<void>;
  /** Ends pending reads and frees what the backend holds. */
  close(): void;
}

/** Tells the user of something that went wrong and does not end the run. */
export type Warn = (line: string) => void;

/** Writes all of `data`. */
export async function writeAll(
  writer: { write(data: Uint8Array): Promise<number> },
  data: Uint8Array,
): Promise<void> {
  for (let done = 0; done < data.length;) done += await writer.write(data.subarray(done));
}

/** A promise to be kept from outside, again and again. */
export class Signal {
  #next = Promise.withResolvers<void>();

  /** Resolves when `fire` is called the next time. */
  get fired(): Promise<void> {
    return this.#next.promise;
  }

  fire(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}

/** Takes everything and gives nothing. */
export class NullBackend implements CharacterBackend {
  readonly name = "null";
  readonly state = "";
  read(): Promise<null> {
    return Promise.resolve(null);
  }
  write(): Promise<void> {
    return Promise.resolve();
  }
  close(): void {}
}

const READ_BYTES = 65536;

/** Opens a file or throws a HostError that names it. */
export async function openFile(path: string, options: Deno.OpenOptions): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, options);
  } catch (error) {
    throw new HostError(`cannot open ${path}: ${reason(error)}`);
  }
}

/** A file that is written. What it refuses is dropped and counted: a full disk does not end the run. */
export class OutputFile {
  #lost = 0;

  private constructor(readonly path: string, private readonly file: Deno.FsFile, private readonly warn: Warn) {}

  static async open(path: string, append: boolean, warn: Warn): Promise<OutputFile> {
    return new OutputFile(path, await openFile(path, { write: true, create: true, append, truncate: !append }), warn);
  }

  get lost(): number {
    return this.#lost;
  }

  async write(data: Uint8Array): Promise<void> {
    try {
      await writeAll(this.file, data);
    } catch (error) {
      if (this.#lost === 0) this.warn(`cannot write ${this.path}: ${reason(error)}`);
      this.#lost += data.length;
    }
  }

  close(): void {
    this.file.close();
  }
}

/** Output to a file; input from another file, once, if there is one. */
export class FileBackend implements CharacterBackend {
  readonly name: string;
  private constructor(private readonly output: OutputFile, private input: Deno.FsFile | null) {
    this.name = `file:${output.path}`;
  }

  static async open(path: string, append: boolean, inputPath: string | null, warn: Warn): Promise<FileBackend> {
    const input = inputPath === null ? null : await openFile(inputPath, { read: true });
    try {
      return new FileBackend(await OutputFile.open(path, append, warn), input);
    } catch (error) {
      input?.close();
      throw error;
    }
  }

  get state(): string {
    return this.output.lost > 0 ? `${this.output.lost} bytes could not be written` : "";
  }

  async read(): Promise<Uint8Array | null> {
    const buffer = new Uint8Array(READ_BYTES);
    // An input file that cannot be read has ended.
    const count = await this.input?.read(buffer).catch(() => null) ?? null;
    return count === null ? null : buffer.subarray(0, count);
  }

  write(data: Uint8Array): Promise<void> {
    return this.output.write(data);
  }

  close(): void {
    this.output.close();
    this.input?.close();
    this.input = null;
  }
}

/** Another backend with everything that goes out kept in a file too: what was dropped on the way is there. */
export class LoggedBackend implements CharacterBackend {
  constructor(private readonly base: CharacterBackend, private readonly log: OutputFile) {}

  get name(): string {
    return this.base.name;
  }
  get state(): string {
    return this.base.state;
  }
  read(): Promise<Input | null> {
    return this.base.read();
  }
  async write(data: Uint8Array): Promise<void> {
    await this.log.write(data);
    await this.base.write(data);
  }
  close(): void {
    this.base.close();
    this.log.close();
  }
}
