// Character backends: the host's end of a serial port or console. A device's core never sees them; the daemon moves bytes
// between them and the byte rings. This file has the interface and the plain ones; sockets are in socket.ts.

import { HostError, reason } from "../../src/base/errors.ts";

/** Where bytes come from and go to. One reader and one writer at a time. */
export interface CharacterBackend {
  /** As messages call it: `tcp:127.0.0.1:1234`. */
  readonly name: string;
  /** The next bytes from the host; null when there will never be more. */
  read(): Promise<Uint8Array | null>;
  /** Resolves when the host has taken the bytes, or when there is nobody to take them. Throws HostError. */
  write(data: Uint8Array): Promise<void>;
  /** Ends pending reads and frees what the backend holds. */
  close(): void;
}

/** Writes all of `data`. */
export async function writeAll(
  writer: { write(data: Uint8Array): Promise<number> },
  data: Uint8Array,
): Promise<void> {
  for (let done = 0; done < data.length;) done += await writer.write(data.subarray(done));
}

/** Takes everything and gives nothing. */
export class NullBackend implements CharacterBackend {
  readonly name = "null";
  read(): Promise<null> {
    return Promise.resolve(null);
  }
  write(): Promise<void> {
    return Promise.resolve();
  }
  close(): void {}
}

/** Output to a file, which is truncated; no input. */
export class FileBackend implements CharacterBackend {
  readonly name: string;
  private constructor(path: string, private readonly file: Deno.FsFile) {
    this.name = `file:${path}`;
  }

  static async open(path: string): Promise<FileBackend> {
    try {
      return new FileBackend(path, await Deno.open(path, { write: true, create: true, truncate: true }));
    } catch (error) {
      throw new HostError(`cannot open ${path}: ${reason(error)}`);
    }
  }

  read(): Promise<null> {
    return Promise.resolve(null);
  }

  async write(data: Uint8Array): Promise<void> {
    try {
      await writeAll(this.file, data);
    } catch (error) {
      throw new HostError(`cannot write ${this.name}: ${reason(error)}`);
    }
  }

  close(): void {
    this.file.close();
  }
}
