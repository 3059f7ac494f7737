// Character backends over TCP and Unix sockets. A server takes one client after another; a client connects once, or again
// and again with `reconnect`. While nobody is connected output is discarded, as QEMU does; a connected reader is treated
// as patience.ts says. A peer that has ended its direction may still want our output: ours stays open until the next one.

import { HostError, reason } from "../../src/base/errors.ts";
import { type CharacterBackend, type Input, Signal, type Warn } from "./character.ts";
import { PatientWriter } from "./patience.ts";
import { encodeTelnet, GREETING, TelnetDecoder } from "./telnet.ts";

export type SocketAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export interface SocketOptions {
  readonly address: SocketAddress;
  readonly server: boolean;
  /** Speak the telnet protocol. */
  readonly telnet: boolean;
  /** Send small packets at once (TCP). */
  readonly noDelay: boolean;
  /** A client: how long until the next attempt; null makes the first one the last. */
  readonly reconnectMs: number | null;
}

const READ_BYTES = 65536;
/** How long a server rests when the host refuses it a connection (too many open files). */
const ACCEPT_PAUSE_MS = 500;

export function addressName(address: SocketAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `tcp:${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

export const connectTo = async (address: SocketAddress): Promise<Deno.Conn> =>
  address.kind === "unix"
    ? await Deno.connect({ transport: "unix", path: address.path })
    : await Deno.connect({ hostname: address.host, port: address.port });

export async function listenOn(address: SocketAddress): Promise<Deno.Listener> {
  try {
    if (address.kind === "tcp") return Deno.listen({ hostname: address.host, port: address.port });
    await makeRoom(address.path);
    return Deno.listen({ transport: "unix", path: address.path });
  } catch (error) {
    throw new HostError(`cannot listen on ${addressName(address)}: ${reason(error)}`);
  }
}

/** One connected stream. */
class Connection {
  /** Resolves when no more input will come: the peer ended its direction, or the connection is gone. */
  readonly ended: Promise<void>;
  #end!: () => void;
  #readable = true;
  #open = true;
  readonly #writer: PatientWriter;
  readonly #telnet: TelnetDecoder | null;
  /** Input that was read and is not taken. */
  readonly #input: Input[] = [];
  /** Answers of the protocol go between what is written. */
  #writing: Promise<void> = Promise.resolve();

  constructor(private readonly conn: Deno.Conn, { telnet, noDelay }: SocketOptions, onStall: () => void) {
    this.ended = new Promise((resolve) => this.#end = resolve);
    this.#writer = new PatientWriter(conn, onStall);
    this.#telnet = telnet ? new TelnetDecoder() : null;
    if ("setNoDelay" in conn) {
      const tcp = conn as Deno.TcpConn;
      tcp.setNoDelay(noDelay);
      // A host that has vanished does not say so.
      tcp.setKeepAlive(true);
    }
    if (telnet) void this.#send(GREETING);
  }

  get dropped(): number {
    return this.#writer.dropped;
  }

  /** Whether more input may come. */
  get readable(): boolean {
    return this.#readable;
  }

  /** Input, or null when no more will come on this connection. */
  async read(): Promise<Input | null> {
    while (this.#readable || this.#input.length > 0) {
      const input = this.#input.shift();
      if (input !== undefined) return input;
      const data = await this.#receive();
      if (data === null) break;
      if (this.#telnet === null) return data;
      const decoded = this.#telnet.decode(data);
      this.#input.push(...decoded.input);
      if (decoded.reply.length > 0) void this.#send(decoded.reply);
    }
    return null;
  }

  async #receive(): Promise<Uint8Array | null> {
    const buffer = new Uint8Array(READ_BYTES);
    try {
      const count = await this.conn.read(buffer);
      if (count !== null) return buffer.subarray(0, count);
    } catch {
      // A reset connection has ended in both directions.
      this.close();
    }
    this.#readable = false;
    this.#end();
    return null;
  }

  async write(data: Uint8Array): Promise<void> {
    await this.#send(this.#telnet === null ? data : encodeTelnet(data));
  }

  #send(data: Uint8Array): Promise<void> {
    return this.#writing = this.#writing.then(async () => {
      if (!this.#open) return;
      try {
        await this.#writer.write(data);
      } catch {
        this.close();
      }
    });
  }

  close(): void {
    if (!this.#open) return;
    this.#open = this.#readable = false;
    this.conn.close();
    this.#end();
  }
}

export class SocketBackend implements CharacterBackend {
  readonly name: string;
  #connection: Connection | null = null;
  #droppedBefore = 0;
  #warned = false;
  /** No connection will follow the one that is there. */
  #last = false;
  #closed = false;
  /** A connection was made, or none will be. */
  readonly #changed = new Signal();
  #listener: Deno.Listener | null = null;
  #timer: { readonly id: ReturnType<typeof setTimeout>; readonly wake: () => void } | null = null;

  private constructor(address: SocketAddress, private readonly options: SocketOptions, private readonly warn: Warn) {
    this.name = addressName(address);
  }

  /** Listens, connects, or begins to try. Throws HostError. */
  static async open(options: SocketOptions, warn: Warn): Promise<SocketBackend> {
    const { address } = options;
    if (options.server) {
      const listener = await listenOn(address), port = (listener.addr as Deno.NetAddr).port;
      const bound = address.kind === "tcp" ? { ...address, port } : address;
      const backend = new SocketBackend(bound, options, warn);
      backend.#listener = listener;
      void backend.#serve(listener);
      return backend;
    }
    const backend = new SocketBackend(address, options, warn);
    if (options.reconnectMs !== null) {
      void backend.#stayConnected(options.reconnectMs);
      return backend;
    }
    try {
      backend.#take(await connectTo(address));
      backend.#last = true;
    } catch (error) {
      throw new HostError(`cannot connect to ${backend.name}: ${reason(error)}`);
    }
    return backend;
  }

  get state(): string {
    const dropped = this.#droppedBefore + (this.#connection?.dropped ?? 0);
    return [
      this.connected ? "connected" : "disconnected",
      ...(this.options.telnet ? ["telnet"] : []),
      ...(dropped > 0 ? [`${dropped} bytes were dropped`] : []),
    ].join(", ");
  }

  get connected(): boolean {
    return this.#connection?.readable === true;
  }

  /** Resolves when somebody is connected; false when the backend was closed instead. */
  async whenConnected(): Promise<boolean> {
    while (!this.connected && !this.#closed) await this.#changed.fired;
    return !this.#closed;
  }

  async read(): Promise<Input | null> {
    while (!this.#closed) {
      const changed = this.#changed.fired, connection = this.#connection;
      const input = await connection?.read() ?? null;
      if (input !== null) return input;
      if (this.#last) return null;
      if (connection === this.#connection) await changed;
    }
    return null;
  }

  async write(data: Uint8Array): Promise<void> {
    await this.#connection?.write(data);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection?.close();
    this.#listener?.close();
    if (this.#timer !== null) {
      clearTimeout(this.#timer.id);
      this.#timer.wake();
    }
    if (this.options.server && this.options.address.kind === "unix") removeSocket(this.options.address.path);
    this.#changed.fire();
  }

  /** Makes `conn` the one that is read and written. */
  #take(conn: Deno.Conn): Connection {
    const connection = new Connection(conn, this.options, () => this.#stalled());
    this.#droppedBefore += this.#connection?.dropped ?? 0;
    this.#connection?.close();
    this.#connection = connection;
    this.#changed.fire();
    return connection;
  }

  #stalled(): void {
    if (this.#warned) return;
    this.#warned = true;
    this.warn(`whoever is connected to ${this.name} does not read: output is dropped until they do`);
  }

  async #serve(listener: Deno.Listener): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#take(await listener.accept()).ended;
      } catch {
        if (!this.#closed) await this.#sleep(ACCEPT_PAUSE_MS);
      }
    }
  }

  async #stayConnected(reconnectMs: number): Promise<void> {
    while (!this.#closed) {
      try {
        const conn = await connectTo(this.options.address);
        if (this.#closed) return conn.close();
        const connection = this.#take(conn);
        await connection.ended;
        connection.close();
      } catch {
        // Nobody listens yet, or not any more.
      }
      if (!this.#closed) await this.#sleep(reconnectMs);
    }
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((wake) => this.#timer = { id: setTimeout(wake, ms), wake });
    this.#timer = null;
  }
}

/** Removes a socket file that an earlier run left behind. Throws AddrInUse when somebody listens there. */
async function makeRoom(path: string): Promise<void> {
  const used = await Deno.connect({ transport: "unix", path }).then((conn) => (conn.close(), true), () => false);
  if (used) throw new Deno.errors.AddrInUse();
  removeSocket(path);
}

/** Removes a socket file; never any other file. */
export function removeSocket(path: string): void {
  try {
    if (Deno.lstatSync(path).isSocket) Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
