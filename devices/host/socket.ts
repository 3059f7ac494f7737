// Character backends over TCP and Unix sockets. A client connects once; when the other side goes away the port stays open
// and silent. A server takes one client at a time; while there is none, output is discarded, as QEMU does.

import { HostError, reason } from "../../src/base/errors.ts";
import { type CharacterBackend, writeAll } from "./character.ts";

export type SocketAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

const READ_BYTES = 65536;

export function addressName(address: SocketAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `tcp:${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

/** One connected stream. When the other side has ended its direction, ours stays open: it may still want our output. */
class Connection {
  #open = true;
  #ended = false;
  constructor(private readonly conn: Deno.Conn) {
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
  }

  get open(): boolean {
    return this.#open;
  }

  /** Whether more bytes may come. */
  get readable(): boolean {
    return this.#open && !this.#ended;
  }

  /** Bytes, or null when no more will come on this connection. */
  async read(): Promise<Uint8Array | null> {
    if (!this.readable) return null;
    const buffer = new Uint8Array(READ_BYTES);
    try {
      const count = await this.conn.read(buffer);
      if (count !== null) return buffer.subarray(0, count);
    } catch {
      // A reset connection has ended, in both directions.
      this.close();
    }
    this.#ended = true;
    return null;
  }

  async write(data: Uint8Array): Promise<void> {
    try {
      await writeAll(this.conn, data);
    } catch {
      this.close();
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.conn.close();
  }
}

/** Connects to a socket that somebody else listens on. */
export class SocketClient implements CharacterBackend {
  private constructor(readonly name: string, private readonly connection: Connection) {}

  static async connect(address: SocketAddress): Promise<SocketClient> {
    const name = addressName(address);
    try {
      const conn = address.kind === "unix"
        ? await Deno.connect({ transport: "unix", path: address.path })
        : await Deno.connect({ hostname: address.host, port: address.port });
      return new SocketClient(name, new Connection(conn));
    } catch (error) {
      throw new HostError(`cannot connect to ${name}: ${reason(error)}`);
    }
  }

  read(): Promise<Uint8Array | null> {
    return this.connection.read();
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.connection.open) await this.connection.write(data);
  }

  close(): void {
    this.connection.close();
  }
}

/** Listens, and serves one client after another. */
export class SocketServer implements CharacterBackend {
  #client: Connection | null = null;
  #closed = false;
  readonly #unixPath: string | null;

  private constructor(readonly name: string, private readonly listener: Deno.Listener, unixPath: string | null) {
    this.#unixPath = unixPath;
  }

  static listen(address: SocketAddress): SocketServer {
    try {
      if (address.kind === "tcp") {
        const listener = Deno.listen({ hostname: address.host, port: address.port });
        return new SocketServer(addressName({ ...address, port: listener.addr.port }), listener, null);
      }
      removeStaleSocket(address.path);
      const listener = Deno.listen({ transport: "unix", path: address.path });
      return new SocketServer(addressName(address), listener, address.path);
    } catch (error) {
      throw new HostError(`cannot listen on ${addressName(address)}: ${reason(error)}`);
    }
  }

  /** Resolves when a client is connected that has not ended its input; false when the server was closed instead. */
  async accept(): Promise<boolean> {
    while (!this.#closed && this.#client?.readable !== true) {
      try {
        const conn = await this.listener.accept();
        this.#client?.close();
        this.#client = new Connection(conn);
      } catch (error) {
        if (this.#closed) return false;
        if (!(error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.ConnectionAborted)) {
          throw new HostError(`cannot accept on ${this.name}: ${reason(error)}`);
        }
      }
    }
    return !this.#closed;
  }

  async read(): Promise<Uint8Array | null> {
    while (await this.accept()) {
      const data = await this.#client!.read();
      if (data) return data;
    }
    return null;
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.#client?.open) await this.#client.write(data);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client?.close();
    this.listener.close();
    if (this.#unixPath !== null) removeStaleSocket(this.#unixPath);
  }
}

/** A socket file that an earlier run left behind; never any other file. */
function removeStaleSocket(path: string): void {
  try {
    if (Deno.lstatSync(path).isSocket) Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
