// User-mode networking on real sockets: the network itself is devices/net/user. Host ports that are forwarded are listened
// on here. Frames are taken from the guest only while there is room for answers, so that neither direction of the ring can
// fill the other.

import { createSocket, type Socket } from "node:dgram";
import { HostError, reason } from "../../src/base/errors.ts";
import { type NetworkEnd, type PortSide, tookRecords } from "../net/end.ts";
import { WANTS } from "../net/port.ts";
import { LONGEST_RECORD, OFFLOAD } from "../net/offload.ts";
import { formatIp, parseIp } from "../net/user/address.ts";
import type { Forward, UserNetConfig } from "../net/user/config.ts";
import type { HostTcp, HostUdp, Surroundings } from "../net/user/host.ts";
import { UserNet } from "../net/user/user_net.ts";
import type { Warn } from "./character.ts";
import { connectTo, type SocketAddress } from "./socket.ts";

/** Frames that are taken from the guest before others have their turn on this thread. */
const MOST_AT_ONCE = 512;
const ACCEPT_PAUSE_MS = 500;

export class UserNetEnd implements NetworkEnd {
  readonly name: string;
  readonly net: UserNet;
  readonly #cleanup: (() => void)[] = [];
  #closed = false;
  #poked = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #timerMs = Infinity;
  #gave = false;
  #needsRoom = false;

  private constructor(
    private readonly side: PortSide,
    private readonly config: UserNetConfig,
    private readonly nowMs: () => number,
  ) {
    this.name = `user:${config.net}/${config.bits}`;
    this.net = new UserNet(config, this.#surroundings());
  }

  /** Begins to listen on forwarded ports. Throws HostError. */
  static async open(
    side: PortSide,
    config: UserNetConfig,
    nowMs: () => number,
    warn: Warn,
  ): Promise<UserNetEnd> {
    const end = new UserNetEnd(side, config, nowMs);
    try {
      for (const forward of config.forwards) {
        const port = forward.protocol === "tcp" ? end.#listen(forward) : await end.#receive(forward);
        const { protocol, hostAddress, guestPort } = forward;
        if (forward.hostPort === 0) warn(`${protocol}:${hostAddress}:${port} leads to port ${guestPort}`);
      }
    } catch (error) {
      end.close();
      throw error;
    }
    return end;
  }

  get state(): string {
    const { connections, refused, ignored } = this.net.counters;
    return `${this.net.connectionCount} connections of ${connections}, ${refused} refused, ${ignored} packets ignored`;
  }

  get idle(): boolean {
    return (this.side.port.toHost.empty && !this.net.hasWork) || !this.#hasRoom;
  }
  get #hasRoom(): boolean {
    return this.side.port.toGuest.hasRoom(LONGEST_RECORD);
  }

  service(): void {
    if (this.#closed) return;
    const { port, port: { toHost } } = this.side;
    let taken = 0;
    for (; taken < MOST_AT_ONCE && this.#hasRoom; taken++) {
      const record = toHost.peek();
      if (record === null) break;
      this.net.record(record);
      toHost.release();
    }
    this.net.work();
    if (this.#gave) this.side.wake();
    else if (taken > 0) tookRecords(this.side);
    this.#gave = false;
    const needsRoom = this.net.hasWork || !this.#hasRoom;
    if (needsRoom !== this.#needsRoom) port.wake(WANTS.ROOM, needsRoom);
    this.#needsRoom = needsRoom;
    // What was taken before that was known was not told.
    if (needsRoom && this.#hasRoom) this.#poke();
    this.#setTimer();
  }

  close(): void {
    if (this.#closed) return;
    this.net.close();
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    for (const step of this.#cleanup) step();
  }

  /** Soon, once for all that happens now. */
  #poke(): void {
    if (this.#poked || this.#closed) return;
    this.#poked = true;
    queueMicrotask(() => {
      this.#poked = false;
      this.service();
    });
  }

  /** The timer is left alone when it is early: it finds nothing to do, and is set again. */
  #setTimer(): void {
    const at = this.net.deadlineMs;
    if (at >= this.#timerMs) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timerMs = at;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#timerMs = Infinity;
      this.net.tick();
      this.service();
    }, Math.max(1, at - this.nowMs()));
  }

  #surroundings(): Surroundings {
    const { port } = this.side;
    const words = new Uint32Array(1);
    return {
      sockets: { connectTcp: connectTcp, openUdp, resolver: resolver() },
      guest: {
        reserve: (bytes) => port.toGuest.reserve(bytes),
        commit: (bytes) => {
          port.toGuest.commit(bytes);
          this.#gave = true;
        },
        get takesChecksums() {
          return (port.offloads & OFFLOAD.CSUM) !== 0;
        },
        get takesSegments() {
          return (port.offloads & OFFLOAD.TSO4) !== 0;
        },
        get drained() {
          return port.toGuest.empty;
        },
      },
      nowMs: this.nowMs,
      random32: () => crypto.getRandomValues(words)[0]!,
      poke: () => this.#poke(),
    };
  }

  #listen(forward: Forward): number {
    const { hostAddress: hostname, hostPort } = forward;
    let listener: Deno.TcpListener;
    try {
      listener = Deno.listen({ hostname, port: hostPort });
    } catch (error) {
      throw new HostError(`cannot listen on tcp:${hostname}:${hostPort}: ${reason(error)}`);
    }
    this.#cleanup.push(() => listener.close());
    void this.#accept(listener, forward);
    return listener.addr.port;
  }

  async #accept(listener: Deno.TcpListener, forward: Forward): Promise<void> {
    while (!this.#closed) {
      try {
        this.net.accept(prepared(await listener.accept()), forward);
      } catch {
        if (!this.#closed) await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
      }
    }
  }

  async #receive(forward: Forward): Promise<number> {
    const { hostAddress, hostPort } = forward, socket = createSocket("udp4");
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("error", reject);
        socket.bind(hostPort, hostAddress, () => resolve());
      });
    } catch (error) {
      socket.close();
      throw new HostError(`cannot open udp:${hostAddress}:${hostPort}: ${reason(error)}`);
    }
    socket.on("error", () => {});
    this.#cleanup.push(() => socket.close());
    const reply = (data: Uint8Array, ip: number, port: number) => socket.send(data.slice(), port, formatIp(ip));
    socket.on("message", (data, { address, port }) => {
      this.net.datagram(forward, data, parseIp(address)!, port, reply);
      this.#poke();
    });
    return socket.address().port;
  }
}

function prepared(conn: Deno.Conn): HostTcp {
  if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
  return conn;
}

const connectTcp = async (address: SocketAddress): Promise<HostTcp> => prepared(await connectTo(address));

/** A socket that is bound at once; what is sent before that is done waits for it. */
function openUdp(loopback: boolean, receive: (data: Uint8Array, ip: number, port: number) => void): HostUdp {
  const socket: Socket = createSocket("udp4");
  let closed = false;
  // Nobody listening at the other end is no error, now or later.
  socket.on("error", () => {});
  socket.on("message", (data, { address, port }) => {
    const ip = parseIp(address);
    if (!closed && ip !== null) receive(data, ip, port);
  });
  const bound = new Promise<void>((resolve) => socket.bind(0, loopback ? "127.0.0.1" : "0.0.0.0", () => resolve()));
  return {
    send(data, ip, port) {
      const copy = data.slice();
      void bound.then(() => closed || socket.send(copy, port, formatIp(ip), () => {}));
    },
    close() {
      closed = true;
      void bound.then(() => socket.close());
    },
  };
}

/** The first name server of the host that has an IPv4 address. */
function resolver(): number | null {
  try {
    for (const line of Deno.readTextFileSync("/etc/resolv.conf").split("\n")) {
      const [word, address] = line.trim().split(/\s+/), ip = word === "nameserver" ? parseIp(address ?? "") : null;
      if (ip !== null) return ip;
    }
  } catch {
    // A host without one has no names.
  }
  return null;
}
