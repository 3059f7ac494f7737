// A network over a TCP or Unix stream, as QEMU's `-netdev stream` and `-netdev socket`: one peer at a time. A server takes
// the next peer when one has gone; a client connects once, or again and again. Nothing is dropped while somebody is
// connected: a peer that does not read stops the guest's transmit queue, a guest that does not read stops the peer.
// While nobody is, the guest's link is down and what it sends is lost.

import { HostError, reason } from "../../src/base/errors.ts";
import { giveFrame, giveLink, type NetworkEnd, type PortSide, tookRecords } from "../net/end.ts";
import { LONGEST_FRAME, LONGEST_RECORD, toPlainFrames } from "../net/offload.ts";
import { LINK, WANTS } from "../net/port.ts";
import { FrameDecoder, FRAMING_BYTES, putFramed } from "../net/stream_framing.ts";
import { Signal, type Warn, writeAll } from "./character.ts";
import { addressName, connectTo, listenOn, removeSocket, type SocketAddress } from "./socket.ts";

export interface StreamNetOptions {
  readonly address: SocketAddress;
  readonly server: boolean;
  /** A client: how long until the next attempt; null makes the first one the last. */
  readonly reconnectMs: number | null;
}

/** As much as one write takes; a segment that is cut into frames may go beyond it by twice its size. */
const BATCH_BYTES = 256 * 1024;
const ACCEPT_PAUSE_MS = 500;

export class StreamNet implements NetworkEnd {
  readonly name: string;
  readonly counters = { sentFrames: 0, receivedFrames: 0, lostFrames: 0, badFrames: 0, connections: 0 };
  #conn: Deno.Conn | null = null;
  #closed = false;
  #writing = false;
  /** What the guest is to know of the link. */
  #linkTold = true;
  #linkUp = false;
  #listener: Deno.Listener | null = null;
  readonly #batch = new Uint8Array(BATCH_BYTES + 3 * LONGEST_FRAME);
  readonly #roomOrEnd = new Signal();
  #waitsForRoom = false;
  #pause: { readonly id: ReturnType<typeof setTimeout>; readonly wake: () => void } | null = null;

  private constructor(
    private readonly side: PortSide,
    private readonly options: StreamNetOptions,
    address: SocketAddress,
    private readonly warn: Warn,
  ) {
    this.name = `stream:${addressName(address)}`;
  }

  /** Listens, connects, or begins to try. Throws HostError. */
  static async open(side: PortSide, options: StreamNetOptions, warn: Warn): Promise<StreamNet> {
    const { address, server, reconnectMs } = options;
    if (server) {
      const listener = await listenOn(address);
      const bound = address.kind === "tcp" ? { ...address, port: (listener.addr as Deno.NetAddr).port } : address;
      const end = new StreamNet(side, options, bound, warn);
      end.#listener = listener;
      end.#setLink(false);
      void end.#serve(listener);
      return end;
    }
    const end = new StreamNet(side, options, address, warn);
    end.#setLink(false);
    if (reconnectMs !== null) void end.#stayConnected(null, reconnectMs);
    else {
      try {
        void end.#talk(await connectTo(address));
      } catch (error) {
        throw new HostError(`cannot connect to ${addressName(address)}: ${reason(error)}`);
      }
    }
    return end;
  }

  get state(): string {
    const { sentFrames, receivedFrames, lostFrames, badFrames } = this.counters;
    return [
      this.#conn === null ? "disconnected" : "connected",
      `${sentFrames} frames sent, ${receivedFrames} received`,
      ...(lostFrames > 0 ? [`${lostFrames} lost while disconnected`] : []),
      ...(badFrames > 0 ? [`${badFrames} of no use`] : []),
    ].join(", ");
  }

  get idle(): boolean {
    return (this.#writing || this.side.port.toHost.empty) && !(this.#waitsForRoom && this.#hasRoom) &&
      (this.#linkTold || !this.#hasRoom);
  }

  service(): void {
    if (!this.#linkTold) this.#tellLink();
    if (this.#waitsForRoom && this.#hasRoom) this.#roomOrEnd.fire();
    if (!this.#writing) void this.#send();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#disconnect();
    this.#listener?.close();
    if (this.#pause !== null) {
      clearTimeout(this.#pause.id);
      this.#pause.wake();
    }
    if (this.options.server && this.options.address.kind === "unix") removeSocket(this.options.address.path);
  }

  get #hasRoom(): boolean {
    return this.side.port.toGuest.hasRoom(LONGEST_RECORD);
  }

  #setLink(up: boolean): void {
    this.#linkUp = up;
    this.#linkTold = false;
    this.#tellLink();
  }
  #tellLink(): void {
    const { port, wake } = this.side, give = () => giveLink(port, this.#linkUp ? LINK.UP : 0);
    this.#linkTold = give();
    if (!this.#linkTold) {
      // What is taken from now on is told of; what was taken just before is seen now.
      port.wake(WANTS.ROOM_FOR_LINK, true);
      this.#linkTold = give();
    }
    if (!this.#linkTold) return;
    port.wake(WANTS.ROOM_FOR_LINK, false);
    wake();
  }

  /** Takes frames off the ring for as long as there are any, a batch in each write. */
  async #send(): Promise<void> {
    const { side, side: { port, port: { toHost } }, counters } = this, batch = this.#batch;
    if (toHost.empty) return;
    this.#writing = true;
    // What comes while a batch is written is looked for afterwards, without a bell.
    port.wake(WANTS.FRAMES, false);
    for (;;) {
      if (toHost.empty) {
        port.wake(WANTS.FRAMES, true);
        if (toHost.empty) break;
        port.wake(WANTS.FRAMES, false);
      }
      let end = 0;
      for (let record = toHost.peek(); record !== null && end < BATCH_BYTES; record = toHost.peek()) {
        const good = toPlainFrames(record, (frame) => {
          if (end + FRAMING_BYTES + frame.length > batch.length) return;
          end = putFramed(batch, end, frame);
          counters.sentFrames++;
        });
        if (!good) counters.badFrames++;
        if (this.#conn === null) counters.lostFrames++;
        toHost.release();
      }
      tookRecords(side);
      const conn = this.#conn;
      if (conn === null) continue;
      try {
        await writeAll(conn, batch.subarray(0, end));
      } catch {
        // Its reader sees the end of the connection, too; a half-closed peer is no use to us.
        if (conn === this.#conn) this.#disconnect();
      }
    }
    this.#writing = false;
  }

  #disconnect(): void {
    const conn = this.#conn;
    this.#conn = null;
    conn?.close();
    this.#roomOrEnd.fire();
  }

  /** One connection, to its end. */
  async #talk(conn: Deno.Conn): Promise<void> {
    if (this.#closed) return conn.close();
    if ("setNoDelay" in conn) {
      (conn as Deno.TcpConn).setNoDelay(true);
      (conn as Deno.TcpConn).setKeepAlive(true);
    }
    this.#conn = conn;
    this.counters.connections++;
    this.#setLink(true);
    const decoder = new FrameDecoder();
    while (conn === this.#conn) {
      const count = await conn.read(decoder.room).catch(() => null);
      if (count === null || conn !== this.#conn) break;
      decoder.received(count);
      if (!await this.#deliver(conn, decoder)) break;
    }
    this.counters.badFrames += decoder.ignored;
    if (conn === this.#conn) {
      this.#disconnect();
      this.#setLink(false);
    } else if (!this.#closed) this.#setLink(false);
  }

  /** Gives whole frames to the guest, waiting for room. False when the connection is of no more use. */
  async #deliver(conn: Deno.Conn, decoder: FrameDecoder): Promise<boolean> {
    const { port, wake } = this.side;
    for (let frame = decoder.next(); frame !== null; frame = decoder.next()) {
      if (frame === "garbage") {
        this.warn(`${this.name}: the peer does not send frames: disconnected`);
        return false;
      }
      while (!giveFrame(port, frame)) {
        // Asked for before the second look: whatever is taken from now on is told.
        const told = this.#roomOrEnd.fired;
        this.#waitsForRoom = true;
        port.wake(WANTS.ROOM, true);
        wake();
        if (!this.#hasRoom) await told;
        port.wake(WANTS.ROOM, false);
        this.#waitsForRoom = false;
        if (conn !== this.#conn) return false;
      }
      this.counters.receivedFrames++;
    }
    wake();
    return true;
  }

  async #serve(listener: Deno.Listener): Promise<void> {
    while (!this.#closed) {
      try {
        await this.#talk(await listener.accept());
      } catch {
        if (!this.#closed) await this.#rest(ACCEPT_PAUSE_MS);
      }
    }
  }

  async #stayConnected(first: Deno.Conn | null, pauseMs: number): Promise<void> {
    for (let conn = first; !this.#closed; conn = null) {
      try {
        await this.#talk(conn ?? await connectTo(this.options.address));
      } catch {
        // Nobody is there yet.
      }
      if (!this.#closed) await this.#rest(pauseMs);
    }
  }

  async #rest(ms: number): Promise<void> {
    await new Promise<void>((wake) => this.#pause = { id: setTimeout(wake, ms), wake });
    this.#pause = null;
  }
}
