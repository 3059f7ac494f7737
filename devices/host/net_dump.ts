// `-object filter-dump`: a network's frames in a pcap file, in the order in which they cross the port. Large segments and
// checksums that are not finished are written as they are. What the disk refuses is told of once and dropped.

import { HostError, reason } from "../../src/base/errors.ts";
import { NET_HEADER_BYTES } from "../net/offload.ts";
import { pcapHeader, pcapRecord } from "../net/pcap.ts";
import type { Warn } from "./character.ts";

/** What is collected before it is written. */
const BATCH_BYTES = 65536;
const FLUSH_MS = 200;

export class FrameDump {
  readonly #file: Deno.FsFile;
  readonly #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #failed = false;

  /** Throws HostError when the file cannot be written. */
  constructor(
    private readonly path: string,
    private readonly mostBytes: number,
    private readonly wallSeconds: () => number,
    private readonly warn: Warn,
  ) {
    try {
      this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    } catch (error) {
      throw new HostError(`cannot open ${path}: ${reason(error)}`);
    }
    this.#put(pcapHeader(mostBytes));
  }

  /** A record that crosses the port; records without a frame are passed over. */
  readonly record = (record: Uint8Array): void => {
    if (record.length <= NET_HEADER_BYTES || this.#failed) return;
    this.#put(pcapRecord(record.subarray(NET_HEADER_BYTES), this.wallSeconds(), this.mostBytes));
  };

  close(): void {
    this.#flush();
    this.#file.close();
  }

  #put(bytes: Uint8Array): void {
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= BATCH_BYTES) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const all = new Uint8Array(this.#pendingBytes);
    let at = 0;
    for (const bytes of this.#pending) {
      all.set(bytes, at);
      at += bytes.length;
    }
    this.#pending.length = this.#pendingBytes = 0;
    try {
      for (let done = 0; done < all.length && !this.#failed;) done += this.#file.writeSync(all.subarray(done));
    } catch (error) {
      this.#failed = true;
      this.warn(`cannot write ${this.path}: ${reason(error)}`);
    }
  }
}
