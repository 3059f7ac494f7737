// The debugger server: listens, serves one debugger at a time, turns the others away in words that gdb prints.

import { HostError, reason } from "../src/base/errors.ts";
import { type GdbAddress, gdbAddressText } from "./address.ts";
import { ascii } from "./bytes.ts";
import { Connection } from "./connection.ts";
import { frame } from "./framing.ts";
import type { Target } from "./target.ts";

const BUSY = "E.another debugger is attached to this machine";
/** How long one who is turned away may take to listen, and how many may be listening at once. */
const REFUSAL_MS = 500, MAX_REFUSALS = 16;

export interface GdbServer {
  /** Where it listens, with the port that the host chose for port 0. */
  readonly address: GdbAddress;
  /** A debugger is connected. */
  readonly busy: boolean;
  /** Stops listening and ends the session; the machine runs on. */
  close(): Promise<void>;
}

export interface GdbServerOptions {
  /** One line about who comes and goes. */
  readonly notice?: (line: string) => void;
  /** The stub or its target failed: a bug. The session has ended, the server goes on. */
  readonly failed?: (error: unknown) => void;
}

/** Starts serving `target`. Throws HostError when the address is not to be had. */
export async function startGdbServer(
  target: Target,
  address: GdbAddress,
  options: GdbServerOptions = {},
): Promise<GdbServer> {
  const listener = await listen(address);
  const server = new Server(target, listener, bound(address, listener), options);
  server.start();
  return server;
}

async function listen(address: GdbAddress): Promise<Deno.Listener> {
  try {
    if (address.kind === "tcp") return Deno.listen({ hostname: address.host, port: address.port });
    try {
      return Deno.listen({ transport: "unix", path: address.path });
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse && await removeStale(address.path))) throw error;
      return Deno.listen({ transport: "unix", path: address.path });
    }
  } catch (error) {
    throw new HostError(`cannot listen for a debugger on ${gdbAddressText(address)}: ${reason(error)}`);
  }
}

/** A socket that nobody listens on is left over from a process that ended badly. True when it was one and is gone. */
async function removeStale(path: string): Promise<boolean> {
  const info = await Deno.lstat(path).catch(() => null);
  if (info?.isSocket !== true) return false;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return false;
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) return false;
    await Deno.remove(path);
    return true;
  }
}

function bound(address: GdbAddress, listener: Deno.Listener): GdbAddress {
  const { addr } = listener;
  return address.kind === "tcp" && addr.transport === "tcp" ? { ...address, port: addr.port } : address;
}

class Server implements GdbServer {
  #connection: Connection | null = null;
  #session: Promise<void> = Promise.resolve();
  #accepting: Promise<void> = Promise.resolve();
  #closed = false;
  readonly #refused = new Set<Deno.Conn>();

  constructor(
    private readonly target: Target,
    private readonly listener: Deno.Listener,
    readonly address: GdbAddress,
    private readonly options: GdbServerOptions,
  ) {}

  get busy(): boolean {
    return this.#connection !== null;
  }

  start(): void {
    this.#accepting = this.#accept();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.listener.close();
    for (const stream of this.#refused) close(stream);
    await this.#connection?.end();
    await this.#accepting;
    await this.#session;
    if (this.address.kind === "unix") await Deno.remove(this.address.path).catch(() => {});
  }

  async #accept(): Promise<void> {
    while (!this.#closed) {
      let stream: Deno.Conn;
      try {
        stream = await this.listener.accept();
      } catch (error) {
        if (this.#closed) return;
        // Too many open files, or a peer that was gone before it was accepted: the next one may be luckier.
        this.options.notice?.(`gdb: cannot accept a debugger: ${reason(error)}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      if (this.#connection !== null) void this.#refuse(stream);
      else this.#session = this.#serve(stream);
    }
  }

  async #serve(stream: Deno.Conn): Promise<void> {
    if ("setNoDelay" in stream) {
      const tcp = stream as Deno.TcpConn;
      tcp.setNoDelay(true);
      // A host that vanished without a word is noticed some day.
      tcp.setKeepAlive(true);
    }
    const connection = this.#connection = new Connection(this.target, stream);
    this.options.notice?.("gdb: a debugger is attached");
    try {
      await connection.run();
    } catch (error) {
      this.options.failed?.(error);
    } finally {
      this.#connection = null;
      this.options.notice?.("gdb: the debugger has gone");
    }
  }

  /** Answers the first packet with an error, since gdb shows that of qSupported, and closes. */
  async #refuse(stream: Deno.Conn): Promise<void> {
    if (this.#refused.size >= MAX_REFUSALS) return close(stream);
    this.#refused.add(stream);
    const timer = setTimeout(() => close(stream), REFUSAL_MS);
    try {
      await stream.write(ascii("+"));
      await stream.write(frame(ascii(BUSY)));
      await stream.closeWrite();
      const ignored = new Uint8Array(4096);
      while (await stream.read(ignored) !== null);
    } catch {
      // It did not want to know.
    }
    clearTimeout(timer);
    this.#refused.delete(stream);
    close(stream);
  }
}

function close(stream: Deno.Conn): void {
  try {
    stream.close();
  } catch {
    // It is closed already.
  }
}
