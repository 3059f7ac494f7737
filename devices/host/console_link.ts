// A port of the console device over a record port: the machine's half, which the device sees, and the daemon's, which
// moves bytes between the rings and a character backend.

import type { PortBackend } from "../virtio/console_backend.ts";
import { BREAK, type CharacterBackend, Signal } from "./character.ts";
import type { MachineLink, RecordPort } from "./record_port.ts";

/** Bytes of one record; each ring holds some of them. */
export const CONSOLE_RECORD_BYTES = 4096, CONSOLE_RING_BYTES = 65536;

/** The machine's half. */
export class ConsoleLink implements PortBackend {
  constructor(private readonly link: MachineLink) {}

  transmit(data: Uint8Array): number {
    const bytes = Math.min(data.length, CONSOLE_RECORD_BYTES), place = this.link.reserve(bytes);
    if (place === null) return 0;
    place.set(data.subarray(0, bytes));
    this.link.commit(bytes);
    return bytes;
  }
  flush(): void {
    this.link.flush();
  }
  receive(): Uint8Array | null {
    const record = this.link.next();
    if (record === null) return null;
    const data = record.slice();
    this.link.taken();
    this.link.flush();
    return data;
  }
  get hasInput(): boolean {
    return this.link.hasInput;
  }
  get hasRoom(): boolean {
    return this.link.hasRoom(CONSOLE_RECORD_BYTES);
  }
}

/** The daemon's half. */
export class ConsoleEnd {
  #writing: Promise<void> | null = null;
  #closed = false;
  #waitsForRoom = false;
  readonly #room = new Signal();

  /** `wake` wakes the machine. */
  constructor(
    private readonly port: RecordPort,
    private readonly backend: CharacterBackend,
    private readonly wake: () => void,
    private readonly failed: (error: unknown) => void,
  ) {
    this.#read().catch(failed);
  }

  get idle(): boolean {
    return (this.#writing !== null || this.port.toHost.empty) && !(this.#waitsForRoom && this.#hasRoom);
  }
  service(): void {
    if (this.#waitsForRoom && this.#hasRoom) this.#room.fire();
    if (this.#writing === null && !this.port.toHost.empty) this.#start().catch(this.failed);
  }

  /** Resolves when what the guest has sent is with the host. */
  async drain(): Promise<void> {
    while (!this.#closed && (this.#writing !== null || !this.port.toHost.empty)) await (this.#writing ?? this.#start());
  }

  /** The backend is closed by whoever opened it. */
  close(): void {
    this.#closed = true;
    this.#room.fire();
  }

  get #hasRoom(): boolean {
    return this.port.toGuest.hasRoom(CONSOLE_RECORD_BYTES);
  }

  async #read(): Promise<void> {
    for (let input = await this.backend.read(); input !== null; input = await this.backend.read()) {
      // A console has no break.
      if (input === BREAK) continue;
      for (let at = 0; at < input.length; at += CONSOLE_RECORD_BYTES) {
        while (!this.#hasRoom && !this.#closed) {
          this.#waitsForRoom = true;
          await this.#room.fired;
        }
        this.#waitsForRoom = false;
        if (this.#closed) return;
        this.port.toGuest.push(input.subarray(at, at + CONSOLE_RECORD_BYTES));
        this.wake();
      }
    }
  }

  #start(): Promise<void> {
    return this.#writing = this.#write().finally(() => this.#writing = null);
  }
  async #write(): Promise<void> {
    for (let record = this.port.toHost.peek(); record !== null && !this.#closed; record = this.port.toHost.peek()) {
      const data = record.slice();
      this.port.toHost.release();
      this.wake();
      await this.backend.write(data);
    }
  }
}
