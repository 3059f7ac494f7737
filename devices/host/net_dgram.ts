// `-netdev dgram`: each frame is one UDP datagram to one address, and each that comes from there is one. Frames get lost, by
// the network or where the guest has no room for them; nothing waits.

import { createSocket, type Socket } from "node:dgram";
import { HostError, reason } from "../../src/base/errors.ts";
import { giveFrame, type NetworkEnd, type PortSide, tookRecords } from "../net/end.ts";
import { ETHERNET_BYTES, LONGEST_FRAME, toPlainFrames } from "../net/offload.ts";
import type { UdpOptions } from "./udp.ts";

/** The most that a datagram holds. */
const LONGEST_DATAGRAM = 65507;

export class DgramNet implements NetworkEnd {
  readonly name: string;
  readonly counters = { sentFrames: 0, receivedFrames: 0, lostFrames: 0 };
  #closed = false;

  private constructor(private readonly side: PortSide, options: UdpOptions, private readonly socket: Socket) {
    this.name = `dgram:${options.host}:${options.port}@${options.localHost}:${socket.address().port}`;
    socket.on("message", (data) => this.#receive(data));
    // Nobody listening at the other end is no error, now or later.
    socket.on("error", () => {});
  }

  /** Throws HostError. */
  static async open(side: PortSide, options: UdpOptions): Promise<DgramNet> {
    const { host, port, localHost, localPort } = options;
    const socket = createSocket(localHost.includes(":") ? "udp6" : "udp4");
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("error", reject);
        const connect = () => socket.connect(port, host, (error?: Error) => error ? reject(error) : resolve());
        socket.bind(localPort, localHost, connect);
      });
      socket.removeAllListeners("error");
      return new DgramNet(side, options, socket);
    } catch (error) {
      socket.close();
      throw new HostError(`cannot open dgram:${host}:${port}@${localHost}:${localPort}: ${reason(error)}`);
    }
  }

  get state(): string {
    const { sentFrames, receivedFrames, lostFrames } = this.counters;
    return `${sentFrames} frames sent, ${receivedFrames} received${lostFrames > 0 ? `, ${lostFrames} lost` : ""}`;
  }

  get idle(): boolean {
    return this.side.port.toHost.empty;
  }
  service(): void {
    const { port: { toHost } } = this.side, { counters } = this;
    if (toHost.empty || this.#closed) return;
    for (let record = toHost.peek(); record !== null; record = toHost.peek()) {
      toPlainFrames(record, (frame) => {
        if (frame.length > LONGEST_DATAGRAM) return counters.lostFrames++;
        counters.sentFrames++;
        this.socket.send(frame.slice(), () => {});
      });
      toHost.release();
    }
    tookRecords(this.side);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.socket.close();
  }

  #receive(frame: Uint8Array): void {
    if (this.#closed) return;
    const good = frame.length >= ETHERNET_BYTES && frame.length <= LONGEST_FRAME;
    if (!good || !giveFrame(this.side.port, frame)) {
      this.counters.lostFrames++;
      return;
    }
    this.counters.receivedFrames++;
    this.side.wake();
  }
}
