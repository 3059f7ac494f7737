// A disk on an NBD server, the daemon's half: connects, negotiates, and moves bytes between the socket and the machine's
// rings without looking at them. A connection that is lost is made again, for as long as the run lasts; after `patience`
// the machine is told to stop waiting.

import { HostError, reason } from "../../src/base/errors.ts";
import { Signal, type Warn, writeAll } from "./character.ts";
import { negotiate } from "./nbd_handshake.ts";
import { COMMAND, GENERATION_BYTES, MAGIC, type NbdExport, RECORD, REQUEST_BYTES } from "./nbd_protocol.ts";
import { withinTime } from "./patience.ts";
import { RECORD_BYTES, type RecordPort } from "./record_port.ts";
import { addressName, connectTo, type SocketAddress } from "./socket.ts";

export interface NbdLinkOptions {
  readonly address: SocketAddress;
  readonly exportName: string;
  /** How long the machine waits for a connection that was lost. */
  readonly patienceMs: number;
}

/** How long a server may take for its handshake, and the pause between two attempts. */
const HANDSHAKE_MS = 10_000, PAUSE_MS = 250;

export class NbdLink {
  readonly name: string;
  readonly counters = { sentBytes: 0, receivedBytes: 0, connections: 0 };
  #conn: Deno.Conn | null = null;
  #generation = 0;
  #closed = false;
  #writing = false;
  #waitsForRoom = false;
  readonly #room = new Signal();
  readonly #end = new Signal();
  #pause: ReturnType<typeof setTimeout> | undefined;

  private constructor(
    private readonly port: RecordPort,
    private readonly wake: () => void,
    private readonly options: NbdLinkOptions,
    private readonly warn: Warn,
    readonly found: NbdExport,
  ) {
    this.name = nameOf(options);
  }

  /** Connects. Throws HostError when there is no such server or export. */
  static async open(port: RecordPort, wake: () => void, options: NbdLinkOptions, warn: Warn): Promise<NbdLink> {
    const { conn, found } = await connect(options), link = new NbdLink(port, wake, options, warn, found);
    void link.#serve(conn);
    return link;
  }

  get state(): string {
    const { sentBytes, receivedBytes, connections } = this.counters;
    const again = connections > 1 ? `, connection ${connections}` : "";
    return `${
      this.#conn === null ? "disconnected" : "connected"
    }${again}, ${sentBytes} bytes sent, ${receivedBytes} received`;
  }

  get idle(): boolean {
    return (this.#writing || this.port.toHost.empty) && !(this.#waitsForRoom && this.#hasRoom);
  }
  service(): void {
    if (this.#waitsForRoom && this.#hasRoom) this.#room.fire();
    if (!this.#writing) void this.#send();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#pause);
    this.#end.fire();
    const conn = this.#conn;
    this.#conn = null;
    if (conn === null) return;
    // A server that is told so does not wonder where the client went; nobody waits for that.
    const farewell = new Uint8Array(REQUEST_BYTES), view = new DataView(farewell.buffer);
    view.setUint32(0, MAGIC.REQUEST);
    view.setUint16(6, COMMAND.DISCONNECT);
    const closed = () => conn.close();
    if (this.#writing) closed();
    else withinTime(conn.write(farewell), PAUSE_MS).then(closed, closed);
  }

  get #hasRoom(): boolean {
    return this.port.toGuest.hasRoom(RECORD_BYTES);
  }

  /** One connection after the other. */
  async #serve(first: Deno.Conn): Promise<void> {
    for (let conn: Deno.Conn | null = first; conn !== null; conn = await this.#again()) {
      this.#conn = conn;
      this.#generation++;
      this.counters.connections++;
      const told = Uint8Array.of(RECORD.CONNECTED, 0, 0, 0, 0);
      new DataView(told.buffer).setUint32(1, this.#generation);
      await this.#tell(told);
      this.service();
      await this.#receive(conn);
      if (this.#closed) return;
      this.#drop(conn);
      await this.#tell(Uint8Array.of(RECORD.LOST));
    }
  }

  /** The next connection; null when the run is over. */
  async #again(): Promise<Deno.Conn | null> {
    this.warn(`${this.name}: the connection is lost, connecting again`);
    let patient = true, failing = false;
    const patience = setTimeout(() => patient = false, this.options.patienceMs);
    while (!this.#closed) {
      try {
        const { conn, found } = await connect(this.options), { sizeBytes, flags, structured } = this.found;
        if (found.sizeBytes === sizeBytes && found.flags === flags && found.structured === structured) {
          if (!this.#closed) {
            this.warn(`${this.name}: connected again`);
            clearTimeout(patience);
            return conn;
          }
        } else this.warn(`${this.name}: it is not the same export any more`);
        conn.close();
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
      }
      if (!failing && !patient) {
        failing = true;
        this.warn(`${this.name}: the disk fails until the server is back`);
        await this.#tell(Uint8Array.of(RECORD.FAILING));
      }
      if (this.#closed) break;
      await Promise.race([
        new Promise<void>((resolve) => this.#pause = setTimeout(resolve, PAUSE_MS)),
        this.#end.fired,
      ]);
    }
    clearTimeout(patience);
    return null;
  }

  /** Moves what the server sends into the ring, until it sends no more. */
  async #receive(conn: Deno.Conn): Promise<void> {
    while (this.#conn === conn && await this.#waitForRoom()) {
      const place = this.port.toGuest.reserve(RECORD_BYTES)!;
      let count: number | null;
      try {
        count = await conn.read(place.subarray(1));
      } catch {
        return;
      }
      if (count === null || this.#closed) return;
      place[0] = RECORD.DATA;
      this.port.toGuest.commit(1 + count);
      this.counters.receivedBytes += count;
      this.wake();
    }
  }

  async #tell(record: Uint8Array): Promise<void> {
    if (!await this.#waitForRoom()) return;
    this.port.toGuest.push(record);
    this.wake();
  }

  /** Whether there is room for a record, once there is; false when the run is over. */
  async #waitForRoom(): Promise<boolean> {
    while (!this.#closed && !this.#hasRoom) {
      this.#waitsForRoom = true;
      await Promise.race([this.#room.fired, this.#end.fired]);
    }
    this.#waitsForRoom = false;
    return !this.#closed;
  }

  /** Writes records for this connection, drops those for earlier ones. */
  async #send(): Promise<void> {
    this.#writing = true;
    try {
      for (let record = this.port.toHost.peek(); record !== null && !this.#closed; record = this.port.toHost.peek()) {
        const generation = new DataView(record.buffer, record.byteOffset).getUint32(0), conn = this.#conn;
        if (conn !== null && generation === this.#generation) {
          // Nothing behind the generation: the machine does not like what it hears.
          if (record.length === GENERATION_BYTES) this.#drop(conn);
          else await this.#write(conn, record.subarray(GENERATION_BYTES));
        }
        this.port.toHost.release();
        this.wake();
      }
    } finally {
      this.#writing = false;
    }
  }

  async #write(conn: Deno.Conn, data: Uint8Array): Promise<void> {
    try {
      await writeAll(conn, data);
      this.counters.sentBytes += data.length;
    } catch {
      this.#drop(conn);
    }
  }

  #drop(conn: Deno.Conn): void {
    if (this.#conn !== conn) return;
    this.#conn = null;
    conn.close();
  }
}

const nameOf = ({ address, exportName }: NbdLinkOptions) =>
  `nbd:${addressName(address)}${exportName === "" ? "" : `/${exportName}`}`;

async function connect(options: NbdLinkOptions): Promise<{ conn: Deno.Conn; found: NbdExport }> {
  const name = nameOf(options);
  let conn: Deno.Conn;
  try {
    conn = await connectTo(options.address);
  } catch (error) {
    throw new HostError(`cannot connect to ${name}: ${reason(error)}`);
  }
  try {
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
    const found = await withinTime(negotiate(conn, name, options.exportName), HANDSHAKE_MS);
    if (found === null) throw new HostError(`cannot use ${name}: the server does not answer`);
    return { conn, found };
  } catch (error) {
    conn.close();
    if (error instanceof HostError) throw error;
    throw new HostError(`cannot use ${name}: ${reason(error)}`);
  }
}
