// One connection between a socket of the guest's and a Unix socket of the host's: credit in both directions, the ends of
// both halves, and the way they part (VIRTIO 1.2 §5.10.6.3 to §5.10.6.6). What the guest sends is kept until the host has
// taken it, and never exceeds the room that the guest was told of; from the host as much is read as the guest has said it
// has room for.

import { ByteQueue } from "../net/user/byte_queue.ts";
import { MOST_DATA_BYTES, OP, type PacketHeader, SHUTDOWN } from "../virtio/vsock_packet.ts";
import { Signal, writeAll } from "./character.ts";

/** Room for what the guest sends on one connection, and how much of it must be free anew before the guest hears of it. */
export const BUFFER_BYTES = 128 * 1024;
const WORTH_TELLING_BYTES = BUFFER_BYTES / 2;
/** How long the guest may take to answer, to a wish to connect or to part. */
const ANSWER_MS = 30_000;
const BOTH = SHUTDOWN.RECEIVE | SHUTDOWN.SEND;

/** What a connection needs of whoever keeps it. */
export interface VsockSwitch {
  /** Sends a packet; false when there is no room now. */
  send(from: VsockConnection, op: number, flags: number, data: Uint8Array | null): boolean;
  /** The same in answer to a packet, for which there is room. */
  answer(from: VsockConnection, op: number): void;
  /** Resolves when there may be room; to false when the run is over. */
  whenRoom(): Promise<boolean>;
  /** The connection is no more. */
  ended(connection: VsockConnection): void;
  /** There are so many connections that none should keep memory that it does not use. */
  readonly crowded: boolean;
}

/**
 * The host's program is being connected to; the guest was asked; bytes flow; all was said and the guest is to agree; the
 * guest is to be told that it is over; it is over.
 */
type State = "connecting" | "asked" | "open" | "parting" | "resetting" | "ended";

const NONE = new Uint8Array(0);

export class VsockConnection {
  #state: State = "connecting";
  /** Bytes from and to the guest, modulo 2^32; and those from the guest that the host has, and that the guest knows of. */
  #received = 0;
  #sent = 0;
  #forwarded = 0;
  #told = 0;
  /** What the guest has said of its room, and of the bytes that have left it. */
  #guestBuffer = 0;
  #guestForwarded = 0;
  /** SHUTDOWN bits of the guest's. */
  #guestShut = 0;
  /** Nothing more goes to the guest, or to the host. */
  #readEnded = false;
  #writeEnded = false;
  #writing = false;
  #conn: Deno.Conn | null = null;
  /** What the host's program sent behind its wish to be connected. */
  #early: Uint8Array = NONE;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #output = new ByteQueue(BUFFER_BYTES);
  readonly #credit = new Signal();

  constructor(private readonly owner: VsockSwitch, readonly hostPort: number, readonly guestPort: number) {}

  /** Bytes of the guest's that the host has, modulo 2^32. */
  get forwarded(): number {
    return this.#forwarded;
  }

  /** The guest wants to be connected, with a program that `connect` connects to. */
  async accept(connect: () => Promise<Deno.Conn>): Promise<void> {
    let conn: Deno.Conn;
    try {
      conn = await connect();
    } catch {
      return await this.#reset();
    }
    if (this.#state !== "connecting") return conn.close();
    this.#conn = conn;
    if (!await this.#say("connecting", OP.RESPONSE)) return;
    this.#state = "open";
    void this.#read(conn, NONE);
  }

  /** A program of the host's wants to be connected; it has sent `early` already. */
  async ask(conn: Deno.Conn, early: Uint8Array): Promise<void> {
    this.#conn = conn;
    this.#early = early;
    if (!await this.#say("connecting", OP.REQUEST)) return;
    this.#state = "asked";
    this.#timer = setTimeout(() => void this.#reset(), ANSWER_MS);
  }

  /** What a packet says of the guest's room. */
  hear({ bufferBytes, forwarded }: PacketHeader): void {
    this.#guestBuffer = bufferBytes;
    this.#guestForwarded = forwarded;
    this.#credit.fire();
  }

  /** A packet from the guest. `data` is there until this returns. */
  packet(header: PacketHeader, data: Uint8Array): void {
    this.hear(header);
    if (header.op === OP.RST) return this.end();
    switch (this.#state) {
      case "connecting":
        return this.#refuse();
      case "asked":
        if (header.op !== OP.RESPONSE) return this.#refuse();
        clearTimeout(this.#timer);
        this.#state = "open";
        return void this.#welcome(this.#conn!);
      case "open":
        return this.#flow(header, data);
      case "parting":
        if (header.op === OP.SHUTDOWN && (header.flags & SHUTDOWN.RECEIVE) !== 0) this.#refuse();
    }
  }

  /** Nothing more is sent or received, and nobody is told. */
  end(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    clearTimeout(this.#timer);
    this.#close();
    this.#credit.fire();
    this.owner.ended(this);
  }

  #flow(header: PacketHeader, data: Uint8Array): void {
    switch (header.op) {
      case OP.RW: {
        const kept = (this.#received - this.#forwarded) >>> 0;
        if ((this.#guestShut & SHUTDOWN.SEND) !== 0 || kept + data.length > BUFFER_BYTES) return this.#refuse();
        this.#received = (this.#received + data.length) >>> 0;
        this.#output.put(data);
        return this.#write();
      }
      case OP.SHUTDOWN:
        this.#guestShut |= header.flags & BOTH;
        return (this.#guestShut & SHUTDOWN.SEND) !== 0 ? this.#write() : undefined;
      case OP.CREDIT_UPDATE:
        return;
      case OP.CREDIT_REQUEST:
        this.#told = this.#forwarded;
        return this.owner.answer(this, OP.CREDIT_UPDATE);
      default:
        return this.#refuse();
    }
  }

  /** Answers a packet with the end of the connection. */
  #refuse(): void {
    this.owner.answer(this, OP.RST);
    this.end();
  }

  /** Tells the guest of the end as soon as it can be told. */
  async #reset(): Promise<void> {
    if (this.#state === "resetting" || this.#state === "ended") return;
    this.#state = "resetting";
    this.#close();
    if (await this.#say("resetting", OP.RST)) this.end();
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#conn?.close();
    this.#conn = null;
    this.#output.clear();
  }

  /** Sends a packet as soon as there is room; false when the connection is not in this state any more. */
  async #say(state: State, op: number, flags = 0, data: Uint8Array | null = null): Promise<boolean> {
    while (this.#state === state) {
      if (this.owner.send(this, op, flags, data)) {
        this.#told = this.#forwarded;
        this.#sent = (this.#sent + (data?.length ?? 0)) >>> 0;
        return true;
      }
      if (!await this.owner.whenRoom()) return false;
    }
    return false;
  }

  /** Whether the connection is no longer what it was when an await began. Written as a function for the compiler's sake. */
  #is(state: State): boolean {
    return this.#state === state;
  }

  /** The program that asked is told that the guest has answered. */
  async #welcome(conn: Deno.Conn): Promise<void> {
    this.#writing = true;
    try {
      await writeAll(conn, new TextEncoder().encode(`OK ${this.hostPort}\n`));
    } catch {
      return await this.#reset();
    }
    this.#writing = false;
    if (!this.#is("open")) return;
    this.#write();
    void this.#read(conn, this.#early);
  }

  #write(): void {
    if (!this.#writing && this.#conn !== null) void this.#writeOn(this.#conn);
  }

  /** Writes for as long as there is something to write, and then perhaps the end. */
  async #writeOn(conn: Deno.Conn): Promise<void> {
    const output = this.#output, last = () => (this.#guestShut & SHUTDOWN.SEND) !== 0;
    this.#writing = true;
    try {
      while (output.length > 0) {
        const count = await conn.write(output.first());
        if (!this.#is("open")) return;
        output.drop(count);
        this.#forwarded = (this.#forwarded + count) >>> 0;
        if (output.length === 0 && this.owner.crowded) output.clear();
        const untold = (this.#forwarded - this.#told) >>> 0;
        if (untold >= WORTH_TELLING_BYTES && !last() && !await this.#say("open", OP.CREDIT_UPDATE)) return;
      }
      if (last() && !this.#writeEnded) {
        this.#writeEnded = true;
        await (conn as Deno.UnixConn).closeWrite();
      }
    } catch {
      // The host's program is gone. That matters only if there was something left for it.
      if (!this.#writeEnded) return await this.#reset();
    } finally {
      this.#writing = false;
    }
    if (output.length > 0 || (last() && !this.#writeEnded)) return this.#write();
    this.#part();
  }

  /** How many bytes the guest has room for. */
  get #space(): number {
    return Math.max(0, this.#guestBuffer - ((this.#sent - this.#guestForwarded) >>> 0));
  }

  /** Reads for as long as the guest has room and wants to hear. */
  async #read(conn: Deno.Conn, early: Uint8Array): Promise<void> {
    const buffer = new Uint8Array(MOST_DATA_BYTES), deaf = () => (this.#guestShut & SHUTDOWN.RECEIVE) !== 0;
    try {
      for (let rest = early, asked = false; !deaf();) {
        if (this.#space === 0) {
          // Asked once: a guest without room answers that it has none. Listening begins before that.
          const more = this.#credit.fired;
          if (!asked && !await this.#say("open", OP.CREDIT_REQUEST)) return;
          asked = true;
          if (this.#space === 0) await more;
        } else if (rest.length > 0) {
          const part = rest.subarray(0, this.#space);
          if (!await this.#say("open", OP.RW, 0, part)) return;
          rest = rest.subarray(part.length);
          asked = false;
        } else {
          const count = await conn.read(buffer.subarray(0, Math.min(this.#space, buffer.length)));
          if (count === null) break;
          rest = buffer.subarray(0, count);
        }
        if (!this.#is("open")) return;
      }
    } catch {
      return await this.#reset();
    }
    if (!this.#is("open") || (!deaf() && !await this.#say("open", OP.SHUTDOWN, SHUTDOWN.SEND))) return;
    this.#readEnded = true;
    this.#part();
  }

  /**
   * Ends the connection in order when neither side will send any more: a guest that will not receive either has said all
   * and is answered; another one is told, and answers.
   */
  #part(): void {
    if (this.#state !== "open" || this.#writing || !this.#writeEnded) return;
    if ((this.#guestShut & SHUTDOWN.RECEIVE) !== 0) return void this.#reset();
    if (!this.#readEnded) return;
    this.#state = "parting";
    this.#close();
    this.#timer = setTimeout(() => void this.#reset(), ANSWER_MS);
    void this.#say("parting", OP.SHUTDOWN, BOTH);
  }
}
