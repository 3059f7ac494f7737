// The socket device between a driver and the host's Unix sockets: packets by hand on the guest's side, sockets of this
// process on the other.

import assert from "node:assert/strict";
import { MachineLink, RecordPort } from "../../devices/host/record_port.ts";
import { VsockEnd } from "../../devices/host/vsock.ts";
import { VirtioVsock } from "../../devices/virtio/vsock.ts";
import { HEADER_BYTES, HOST_CID, OP, PacketHeader, TYPE } from "../../devices/virtio/vsock_packet.ts";
import { FakeDriver, RAM_BASE, REG } from "./driver.ts";

export const GUEST_CID = 5;
const RX = 0, TX = 1;

export interface Packet {
  readonly op: number;
  readonly hostPort: number;
  readonly guestPort: number;
  readonly data?: Uint8Array;
  readonly flags?: number;
  readonly sourceCid?: number;
  readonly targetCid?: number;
  readonly type?: number;
  /** In place of the number of bytes that there are. */
  readonly length?: number;
  readonly bufferBytes?: number;
  readonly forwarded?: number;
}

export function packetBytes(packet: Packet): Uint8Array {
  const { data = new Uint8Array(0) } = packet, bytes = new Uint8Array(HEADER_BYTES + data.length);
  const header = PacketHeader.in(bytes);
  header.sourceCid = packet.sourceCid ?? GUEST_CID;
  header.targetCid = packet.targetCid ?? HOST_CID;
  header.sourcePort = packet.guestPort;
  header.targetPort = packet.hostPort;
  header.length = packet.length ?? data.length;
  header.type = packet.type ?? TYPE.STREAM;
  header.op = packet.op;
  header.flags = packet.flags ?? 0;
  header.bufferBytes = packet.bufferBytes ?? 262144;
  header.forwarded = packet.forwarded ?? 0;
  bytes.set(data, HEADER_BYTES);
  return bytes;
}

export interface Heard {
  readonly op: number;
  readonly hostPort: number;
  readonly guestPort: number;
  readonly hostCid: number;
  readonly type: number;
  readonly flags: number;
  readonly bufferBytes: number;
  readonly forwarded: number;
  readonly data: Uint8Array;
}

export interface GuestOptions {
  readonly mostConnections?: number;
  readonly ringBytes?: number;
}

export class VsockGuest {
  readonly driver: FakeDriver;
  readonly device: VirtioVsock;
  /** What the device said and `hear` has not taken. */
  readonly heard: Heard[] = [];
  #room: { head: number; places: readonly { pa: number; length: number }[] }[] = [];
  #sending: { places: number; head: number }[] = [];

  private constructor(readonly end: VsockEnd, readonly port: RecordPort, readonly path: string) {
    const gate = {
      replaying: false,
      frame: (_port: number, host: () => Uint8Array | null) => host(),
      frameTaken: (_port: number, host: () => void) => host(),
    };
    const backend = new MachineLink({
      ...{ port, number: 0, gate, wake: () => {}, sendsInReplay: false, waitForRoom: null },
    });
    this.device = new VirtioVsock({ backend, guestCid: GUEST_CID });
    this.driver = new FakeDriver(this.device, { ramBytes: 0x400_0000 }).bringUp();
  }

  static async open(directory: string, options: GuestOptions = {}): Promise<VsockGuest> {
    const port = new RecordPort(RecordPort.create(options.ringBytes ?? 2 ** 19)), path = `${directory}/vsock`;
    const { mostConnections = 1024 } = options;
    const end = await VsockEnd.open({ port, wake: () => {}, path, guestCid: GUEST_CID, mostConnections });
    return new VsockGuest(end, port, path);
  }

  /** A reset of the device, and the driver again. */
  restart(): void {
    this.#room = [];
    this.#sending = [];
    this.driver.write(REG.Status, 0);
    this.driver.put(RAM_BASE, new Uint8Array(this.driver.ramBytes));
    this.driver.bringUp();
  }

  /** Buffers that the device has not used. */
  get offered(): number {
    return this.#room.length;
  }

  /** Gives the device `count` buffers. */
  offer(count: number, bytes: readonly number[] = [4096]): void {
    const queue = this.driver.queues[RX]!;
    for (let n = 0; n < count; n++) {
      const { head, room } = queue.add([], bytes);
      this.#room.push({ head, places: room });
    }
    queue.kick();
  }

  /** Sends packets; they may stay in the queue for a while. */
  send(...packets: (Packet | Uint8Array)[]): void {
    const queue = this.driver.queues[TX]!;
    for (const packet of packets) {
      queue.add([packet instanceof Uint8Array ? packet : packetBytes(packet)], []);
      this.#sending.push({ places: 1, head: 0 });
    }
    queue.kick();
    this.#sent();
  }

  /** Packets that the device has not taken. */
  get unsent(): number {
    this.#sent();
    return this.#sending.length;
  }
  #sent(): void {
    this.#sending.splice(0, this.driver.queues[TX]!.poll().length);
  }

  /** The daemon and the machine take one turn each. */
  turn(): void {
    this.end.service();
    this.driver.transport.pump();
    for (const { head, written } of this.driver.queues[RX]!.poll()) {
      const { head: expected, places } = this.#room.shift()!;
      assert.equal(head, expected);
      const bytes = new Uint8Array(places.flatMap(({ pa, length }) => [...this.driver.get(pa, length)])).slice(
        0,
        written,
      );
      if (written === 0) continue;
      const header = PacketHeader.in(bytes);
      assert.equal(header.targetCid, GUEST_CID);
      assert.equal(header.length, written - HEADER_BYTES);
      this.heard.push({
        op: header.op,
        hostPort: header.sourcePort,
        guestPort: header.targetPort,
        hostCid: header.sourceCid,
        type: header.type,
        flags: header.flags,
        bufferBytes: header.bufferBytes,
        forwarded: header.forwarded,
        data: bytes.slice(HEADER_BYTES),
      });
    }
  }

  /** Turns until something is true. */
  async until(what: () => boolean, limitMs = 20_000): Promise<void> {
    for (const end = performance.now() + limitMs; !what();) {
      if (performance.now() > end) throw new Error(`it did not come to pass: ${what}`);
      this.turn();
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  /** The next packet for which a buffer is offered. */
  async hear(): Promise<Heard> {
    this.offer(1);
    await this.until(() => this.heard.length > 0);
    return this.heard.shift()!;
  }

  /** Some turns in which nothing must be said. */
  async silence(): Promise<void> {
    for (let n = 0; n < 20; n++) {
      this.turn();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.deepEqual(this.heard, []);
  }

  /** A connection of the guest's to a program that listens at `hostPort`. */
  async connect(hostPort: number, guestPort: number, more: Partial<Packet> = {}): Promise<Heard> {
    this.send({ ...more, op: OP.REQUEST, hostPort, guestPort });
    return await this.hear();
  }
}
