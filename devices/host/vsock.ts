// The host's side of the socket device, by the convention of Firecracker and cloud-hypervisor: a program that connects to the
// Unix socket PATH and sends `CONNECT PORT` is connected to the guest's listener on that port, after the answer `OK HOSTPORT`;
// a guest that connects to CID 2, port P, is connected to the host's Unix socket PATH_P. One thing is decided for each packet of
// the guest's, at once: it belongs to a connection, makes one, or is refused. Room for the answer is there before the packet
// is looked at, so that a guest that does not hear is not heard either, and costs nothing.

import { Signal } from "./character.ts";
import { withinTime } from "./patience.ts";
import type { RecordPort } from "./record_port.ts";
import { listenOn, removeSocket } from "./socket.ts";
import { BUFFER_BYTES, VsockConnection, type VsockSwitch } from "./vsock_connection.ts";
import {
  GENERATION_BYTES,
  HEADER_BYTES,
  HOST_CID,
  LONGEST_TO_GUEST,
  NOTICE,
  OP,
  PacketHeader,
  PORT_ANY,
  SHORTEST_TO_GUEST,
  TO_GUEST_BYTES,
  TO_HOST_BYTES,
  TYPE,
} from "../virtio/vsock_packet.ts";

export const MOST_CONNECTIONS = 1024;
/** From here on memory is dear. */
const CROWD = 64;
/** Ports that connections from the host have: those above are no programs'. */
const FIRST_HOST_PORT = 2 ** 30;
/** Room that is left for answers. */
const ANSWERS_BYTES = 65536;
/** How long a program may take to say what it wants, and the longest way to say it. */
const GREETING_MS = 10_000, GREETING_BYTES = "CONNECT 4294967295\n".length;
/** A program whose backlog is full is tried again for as long as a guest waits. */
const CONNECT_PAUSE_MS = 20, CONNECT_TRIES = 100;
const ACCEPT_PAUSE_MS = 500;

export interface VsockOptions {
  readonly port: RecordPort;
  /** Wakes the machine. */
  readonly wake: () => void;
  /** PATH. */
  readonly path: string;
  readonly guestCid: number;
  /** Connections and those that ask for one, all together (MOST_CONNECTIONS). */
  readonly mostConnections?: number;
}

/** Where a packet is from and where it goes to. */
interface Route {
  readonly hostCid: number;
  readonly hostPort: number;
  readonly guestPort: number;
  readonly type: number;
}

const keyOf = (hostPort: number, guestPort: number): string => `${hostPort}:${guestPort}`;

export class VsockEnd implements VsockSwitch {
  readonly counters = { connections: 0, refused: 0, sentBytes: 0, receivedBytes: 0 };
  readonly #connections = new Map<string, VsockConnection>();
  /** Programs that have not said yet what they want. */
  readonly #greeting = new Set<Deno.Conn>();
  #generation = 0;
  /** Whether the guest's driver is there. */
  #started = false;
  #nextPort = FIRST_HOST_PORT;
  #waiting = 0;
  #closed = false;
  readonly #room = new Signal();

  private constructor(private readonly options: VsockOptions, private readonly listener: Deno.Listener) {
    void this.#serve();
  }

  /** Listens. Throws HostError. */
  static async open(options: VsockOptions): Promise<VsockEnd> {
    return new VsockEnd(options, await listenOn({ kind: "unix", path: options.path }));
  }

  /** For the monitor. */
  get state(): string {
    const { connections, refused, sentBytes, receivedBytes } = this.counters;
    return [
      this.#started ? `CID ${this.options.guestCid}` : "no driver",
      `${this.#connections.size} connections of ${connections}`,
      `${sentBytes} bytes to the guest, ${receivedBytes} from it`,
      ...(refused > 0 ? [`${refused} refused`] : []),
    ].join(", ");
  }
  get name(): string {
    return `vsock:${this.options.path}`;
  }
  get openConnections(): number {
    return this.#connections.size;
  }

  get idle(): boolean {
    const { toHost } = this.options.port;
    return (toHost.empty || !this.#hasRoom(SHORTEST_TO_GUEST)) && !(this.#waiting > 0 && this.#hasMuchRoom);
  }

  service(): void {
    if (this.#waiting > 0 && this.#hasMuchRoom) this.#room.fire();
    const { port: { toHost }, wake } = this.options;
    let took = false;
    while (!this.#closed && this.#hasRoom(SHORTEST_TO_GUEST)) {
      const record = toHost.peek();
      if (record === null) break;
      this.#take(record);
      toHost.release();
      took = true;
    }
    if (took) wake();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#dropAll();
    for (const conn of this.#greeting) conn.close();
    this.listener.close();
    removeSocket(this.options.path);
    this.#room.fire();
  }

  // What connections are offered.

  send(from: VsockConnection, op: number, flags: number, data: Uint8Array | null): boolean {
    if (this.#closed || !this.#hasMuchRoom) return false;
    this.#put(routeOf(from), op, flags, from.forwarded, data);
    return true;
  }

  answer(to: VsockConnection, op: number): void {
    this.#put(routeOf(to), op, 0, to.forwarded, null);
  }

  async whenRoom(): Promise<boolean> {
    if (this.#closed) return false;
    if (this.#hasMuchRoom) return true;
    this.#waiting++;
    await this.#room.fired;
    this.#waiting--;
    return !this.#closed;
  }

  ended({ hostPort, guestPort }: VsockConnection): void {
    this.#connections.delete(keyOf(hostPort, guestPort));
  }

  get crowded(): boolean {
    return this.#connections.size > CROWD;
  }

  // Packets.

  #hasRoom(bytes: number): boolean {
    return this.options.port.toGuest.hasRoom(bytes);
  }
  /** Room for any packet, and behind it for many answers: what the guest sends is to be held up by its own storms alone. */
  get #hasMuchRoom(): boolean {
    const { longestBytes } = this.options.port.toGuest;
    return this.#hasRoom(Math.min(LONGEST_TO_GUEST + ANSWERS_BYTES, longestBytes));
  }

  #take(record: Uint8Array): void {
    const view = new DataView(record.buffer, record.byteOffset, record.length);
    const generation = view.getUint32(0, true), kind = view.getUint32(GENERATION_BYTES, true);
    if (generation !== this.#generation) {
      // The driver has reset the device: whatever there was is gone.
      this.#dropAll();
      this.#generation = generation;
      this.#started = false;
    }
    if (kind === NOTICE.STARTED) this.#started = true;
    if (kind === NOTICE.PACKET) {
      const data = record.subarray(TO_HOST_BYTES + HEADER_BYTES);
      this.counters.receivedBytes += data.length;
      this.#packet(PacketHeader.in(record, TO_HOST_BYTES), data);
    }
  }

  #packet(header: PacketHeader, data: Uint8Array): void {
    const { op, type, targetCid, targetPort, sourcePort } = header;
    const connection = this.#connections.get(keyOf(targetPort, sourcePort));
    if (targetCid === HOST_CID && type === TYPE.STREAM && connection !== undefined) {
      return connection.packet(header, data);
    }
    // Nobody answers the end of a connection that there is not.
    if (op === OP.RST) return;
    const known = targetCid === HOST_CID && type === TYPE.STREAM && op === OP.REQUEST;
    if (!known || this.#full) {
      this.counters.refused++;
      const route = { hostCid: targetCid, hostPort: targetPort, guestPort: sourcePort, type };
      return this.#put(route, OP.RST, 0, 0, null);
    }
    const made = this.#add(targetPort, sourcePort);
    made.hear(header);
    void made.accept(() => this.#connect(targetPort));
  }

  #put(
    { hostCid, hostPort, guestPort, type }: Route,
    op: number,
    flags: number,
    forwarded: number,
    data: Uint8Array | null,
  ) {
    const { port: { toGuest }, guestCid, wake } = this.options, bytes = SHORTEST_TO_GUEST + (data?.length ?? 0);
    const place = toGuest.reserve(bytes)!;
    new DataView(place.buffer, place.byteOffset).setUint32(0, this.#generation, true);
    const header = PacketHeader.in(place, TO_GUEST_BYTES);
    header.sourceCid = hostCid;
    header.targetCid = guestCid;
    header.sourcePort = hostPort;
    header.targetPort = guestPort;
    header.length = data?.length ?? 0;
    header.type = type;
    header.op = op;
    header.flags = flags;
    header.bufferBytes = BUFFER_BYTES;
    header.forwarded = forwarded;
    if (data !== null) place.set(data, SHORTEST_TO_GUEST);
    toGuest.commit(bytes);
    this.counters.sentBytes += data?.length ?? 0;
    wake();
  }

  // Connections.

  get #full(): boolean {
    return this.#connections.size + this.#greeting.size >= (this.options.mostConnections ?? MOST_CONNECTIONS);
  }

  #add(hostPort: number, guestPort: number): VsockConnection {
    const connection = new VsockConnection(this, hostPort, guestPort);
    this.#connections.set(keyOf(hostPort, guestPort), connection);
    this.counters.connections++;
    return connection;
  }

  #dropAll(): void {
    for (const connection of [...this.#connections.values()]) connection.end();
  }

  /** Connects to the program that listens for this port. */
  async #connect(port: number): Promise<Deno.Conn> {
    const path = `${this.options.path}_${port}`;
    for (let tries = CONNECT_TRIES;; tries--) {
      try {
        return await Deno.connect({ transport: "unix", path });
      } catch (error) {
        if (!(error instanceof Deno.errors.WouldBlock) || tries === 0 || this.#closed) throw error;
        await new Promise((resolve) => setTimeout(resolve, CONNECT_PAUSE_MS));
      }
    }
  }

  async #serve(): Promise<void> {
    while (!this.#closed) {
      try {
        const conn = await this.listener.accept();
        if (this.#full || this.#closed) conn.close();
        else void this.#greet(conn);
      } catch {
        // Too many open files, most likely.
        if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
      }
    }
  }

  /** A program is there and says what it wants. */
  async #greet(conn: Deno.Conn): Promise<void> {
    this.#greeting.add(conn);
    const wish = await withinTime(readWish(conn), GREETING_MS);
    this.#greeting.delete(conn);
    if (wish === null || this.#closed || !this.#started) {
      if (wish === null) this.counters.refused++;
      try {
        conn.close();
      } catch { /* It was closed with everything else. */ }
      return;
    }
    void this.#add(this.#freePort(wish.port), wish.port).ask(conn, wish.early);
  }

  #freePort(guestPort: number): number {
    for (;;) {
      const port = this.#nextPort;
      this.#nextPort = port + 1 < PORT_ANY ? port + 1 : FIRST_HOST_PORT;
      if (!this.#connections.has(keyOf(port, guestPort))) return port;
    }
  }
}

const routeOf = ({ hostPort, guestPort }: VsockConnection): Route => ({
  hostCid: HOST_CID,
  hostPort,
  guestPort,
  type: TYPE.STREAM,
});

/** Reads `CONNECT PORT`; null when that is not what comes. */
async function readWish(conn: Deno.Conn): Promise<{ readonly port: number; readonly early: Uint8Array } | null> {
  const buffer = new Uint8Array(4096);
  for (let length = 0; length <= GREETING_BYTES;) {
    const count = await conn.read(buffer.subarray(length)).catch(() => null);
    if (count === null) return null;
    length += count;
    const end = buffer.subarray(0, length).indexOf(10);
    if (end < 0) continue;
    const port = Number(/^CONNECT (\d{1,10})\r?$/i.exec(new TextDecoder().decode(buffer.subarray(0, end)))?.[1]);
    return port >= 0 && port < PORT_ANY ? { port, early: buffer.slice(end + 1, length) } : null;
  }
  return null;
}
