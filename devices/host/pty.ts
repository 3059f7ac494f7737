// A pseudo-terminal as a character backend: another program opens its path like a serial line. We hold only the master
// side, which says when nobody has the other side open: then output is dropped, as QEMU does. A reader that has it open is
// treated as patience.ts says. All calls return at once, but for poll, which waits on a thread of Deno's.

import { HostError } from "../../src/base/errors.ts";
import type { CharacterBackend, Warn } from "./character.ts";
import { type Libc, loadLibc, OPEN, POLL, TCIFLUSH } from "./libc.ts";
import { STALL_MS } from "./patience.ts";

const READ_BYTES = 4096;
/** Larger than the host's `struct termios` on any architecture. */
const TERMIOS_BYTES = 256;
/** How often to look whether somebody has opened the other side. */
const OPENED_MS = 200;
/** poll may miss that the other side was read; it is asked again this often. */
const ROOM_MS = 50;

const OTHER_SIDE = OPEN.RDWR | OPEN.NOCTTY | OPEN.CLOEXEC;
const ACTION = "cannot open a pseudo-terminal";

export class PtyBackend implements CharacterBackend {
  readonly name: string;
  #closed = false;
  #dropped = 0;
  #stalled = false;
  #warned = false;
  /** Output went to whoever has the other side open. */
  #sent = false;
  /** Calls of poll that wait; the library and the descriptors stay until they are back. */
  #waiting = 0;

  private constructor(
    /** What another program opens. */
    readonly path: string,
    private readonly libc: Libc,
    private readonly unload: () => void,
    private readonly master: number,
    /** An eventfd: readable once the backend is closed, which ends every poll. */
    private readonly bell: number,
    private readonly warn: Warn,
  ) {
    this.name = `pty:${path}`;
  }

  static open(warn: Warn): PtyBackend {
    const library = loadLibc(ACTION), libc = library.symbols;
    const good = <T>(what: string, result: number, value: T): T => {
      if (result >= 0) return value;
      library.close();
      throw new HostError(`${ACTION}: the host refuses (${what})`);
    };
    const master = libc.posix_openpt(OPEN.RDWR | OPEN.NOCTTY | OPEN.NONBLOCK | OPEN.CLOEXEC);
    good("posix_openpt", master, null);
    const name = new Uint8Array(128), termios = new Uint8Array(TERMIOS_BYTES);
    good("grantpt", libc.grantpt(master), null);
    good("unlockpt", libc.unlockpt(master), null);
    good("ptsname", -Math.abs(libc.ptsname_r(master, name, BigInt(name.length))), null);
    good("tcgetattr", libc.tcgetattr(master, termios), null);
    libc.cfmakeraw(termios);
    good("tcsetattr", libc.tcsetattr(master, 0, termios), null);
    const pathBytes = name.slice(0, name.indexOf(0) + 1);
    // Once opened and closed, the other side is known to be open or not.
    const other = libc.open(pathBytes, OTHER_SIDE);
    good("open", other, null);
    libc.close(other);
    const path = new TextDecoder().decode(pathBytes.subarray(0, -1));
    const bell = libc.eventfd(0, OPEN.CLOEXEC);
    return good("eventfd", bell, new PtyBackend(path, libc, () => library.close(), master, bell, warn));
  }

  get state(): string {
    const connected = !this.#closed && (this.#poll(POLL.IN) & POLL.HUP) === 0;
    return (connected ? "connected" : "disconnected") +
      (this.#dropped > 0 ? `, ${this.#dropped} bytes were dropped` : "");
  }

  async read(): Promise<Uint8Array | null> {
    const buffer = new Uint8Array(READ_BYTES);
    while (!this.#closed) {
      const ready = await this.#wait(POLL.IN, -1);
      if (this.#closed) break;
      const count = (ready & POLL.IN) !== 0 ? Number(this.libc.read(this.master, buffer, BigInt(buffer.length))) : 0;
      if (count > 0) return buffer.subarray(0, count);
      if ((ready & POLL.HUP) !== 0) this.#left();
      await this.#wait(0, OPENED_MS);
    }
    return null;
  }

  async write(data: Uint8Array): Promise<void> {
    let waitedMs = 0;
    for (let rest = data; rest.length > 0 && !this.#closed;) {
      const ready = this.#poll(POLL.OUT);
      if ((ready & POLL.HUP) !== 0) return this.#left();
      const count = Number(this.libc.write(this.master, rest as Uint8Array<ArrayBuffer>, BigInt(rest.length)));
      if (count > 0) {
        this.#stalled = false;
        this.#sent = true;
        waitedMs = 0;
        rest = rest.subarray(count);
      } else if (this.#stalled || waitedMs >= STALL_MS) {
        this.#stall();
        this.#dropped += rest.length;
        return;
      } else {
        await this.#wait(POLL.OUT, ROOM_MS);
        waitedMs += ROOM_MS;
      }
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.libc.write(this.bell, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 8n);
    if (this.#waiting === 0) this.#free();
  }

  #stall(): void {
    this.#stalled = true;
    if (this.#warned) return;
    this.#warned = true;
    this.warn(`whoever has ${this.path} open does not read: output is dropped until they do`);
  }

  /** Nobody has the other side open: what was sent and not read is not for the next one. */
  #left(): void {
    this.#stalled = false;
    if (!this.#sent) return;
    this.#sent = false;
    const other = this.libc.open(new TextEncoder().encode(`${this.path}\0`), OTHER_SIDE);
    if (other < 0) return;
    this.libc.tcflush(other, TCIFLUSH);
    this.libc.close(other);
  }

  /** What holds of `events` now. */
  #poll(events: number): number {
    const descriptors = Int32Array.of(this.master, events);
    this.libc.poll(descriptors, 1n, 0);
    return descriptors[1]! >>> 16;
  }

  /** Waits until one of `events` holds, the other side is closed, we are, or time is up. Without events, for the last two. */
  async #wait(events: number, limitMs: number): Promise<number> {
    const descriptors = Int32Array.of(this.bell, POLL.IN, this.master, events);
    this.#waiting++;
    await this.libc.pollAside(descriptors, events === 0 ? 1n : 2n, limitMs);
    this.#waiting--;
    if (this.#closed && this.#waiting === 0) this.#free();
    return descriptors[3]! >>> 16;
  }

  #free(): void {
    this.libc.close(this.master);
    this.libc.close(this.bell);
    this.unload();
  }
}
