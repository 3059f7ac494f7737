// The console device, VIRTIO 1.2 §5.3: one port, or several with control messages. Output that the host does not take
// stays in the driver's buffers, input that the driver does not take stays with the host. Left out: the size of the
// console, ports that come and go.

import { assert } from "../../src/base/errors.ts";
import type { Chain } from "./chain.ts";
import type { PortBackend } from "./console_backend.ts";
import { DEVICE_ID, type VirtioDevice, type VirtioTransport } from "./device.ts";
import type { Virtqueue } from "./queue.ts";

const F = { MULTIPORT: 1n << 1n, EMERG_WRITE: 1n << 2n } as const;
const CONFIG = { maxPorts: 4, emergencyWrite: 8 } as const;
const CONFIG_BYTES = 12;
export const CONSOLE_EVENT = {
  DEVICE_READY: 0,
  DEVICE_ADD: 1,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;
const CONTROL_BYTES = 8;
/** Control messages that wait for the driver's buffers, at most. */
const MOST_WAITING = 256;
/** Bytes that go to the host at once. */
const CHUNK_BYTES = 4096;
const QUEUE_SIZE = 128;
/** Queues of the control messages. */
const CONTROL_IN = 2, CONTROL_OUT = 3;

export interface ConsolePort {
  /** Its number; 0 is a console. */
  readonly number: number;
  readonly isConsole: boolean;
  /** By which the guest finds it; "" for none. */
  readonly name: string;
  readonly backend: PortBackend;
}

export interface VirtioConsoleOptions {
  readonly ports: readonly ConsolePort[];
  /** The highest port number that there could be, and one. */
  readonly maxPorts: number;
}

interface Port extends ConsolePort {
  /** Input that was taken from the host and not by the driver. */
  input: Uint8Array;
  /** Output that is not with the host yet: a chain, and how much of it is. */
  output: { readonly chain: Chain; at: number } | null;
}

/** The receive queue of a port; its transmit queue is the next one. */
const queueOf = (port: number): number => port === 0 ? 0 : 2 * port + 2;
const NONE = new Uint8Array(0);

export class VirtioConsole implements VirtioDevice {
  readonly type = "virtio-serial-device";
  readonly deviceId: number = DEVICE_ID.CONSOLE;
  readonly features = F.MULTIPORT | F.EMERG_WRITE;
  readonly featureNames = F;
  /** Bytes of all ports, and control messages of the driver. */
  readonly counters = { sentBytes: 0, receivedBytes: 0, controlMessages: 0 };
  readonly queueSizes: readonly number[];
  readonly configBytes = CONFIG_BYTES;
  /** By port: whether the driver has opened it. */
  readonly stateBytes: number;
  readonly #ports: readonly Port[];
  readonly #maxPorts: number;
  #transport!: VirtioTransport;
  #open!: Uint8Array;
  #control: Uint8Array[] = [];
  readonly #chunk = new Uint8Array(CHUNK_BYTES);

  constructor({ ports, maxPorts }: VirtioConsoleOptions) {
    assert(ports.every(({ number }) => number < maxPorts), "port numbers are below their limit");
    this.#ports = ports.map((port) => ({ ...port, input: NONE, output: null }));
    this.#maxPorts = maxPorts;
    this.queueSizes = new Array(2 * (maxPorts + 1)).fill(QUEUE_SIZE);
    this.stateBytes = maxPorts;
  }

  attached(transport: VirtioTransport): void {
    this.#transport = transport;
    const { buffer, base } = transport.deviceState;
    this.#open = new Uint8Array(buffer, base, this.#maxPorts);
  }

  reset(): void {
    const { config } = this.#transport;
    new DataView(config.buffer, config.byteOffset).setUint32(CONFIG.maxPorts, this.#maxPorts, true);
    this.#control = [];
    for (const port of this.#ports) {
      port.input = NONE;
      port.output = null;
    }
  }

  configWritten(offset: number, _bytes: number, value: number): boolean {
    if (offset !== CONFIG.emergencyWrite) return false;
    const first = this.#ports.find(({ number }) => number === 0);
    first?.backend.transmit(Uint8Array.of(value & 0xff));
    first?.backend.flush();
    return true;
  }

  started(): void {
    this.pump();
  }

  notified({ index }: Virtqueue): void {
    const multiport = this.#transport.has(F.MULTIPORT);
    if (multiport && index === CONTROL_OUT) return this.#takeControl();
    if (multiport && index === CONTROL_IN) return this.#sendControl();
    const number = index < 2 ? 0 : (index >> 1) - 1, port = this.#ports.find((port) => port.number === number);
    if (port === undefined) return;
    if ((index & 1) === 0) this.#receive(port);
    else this.#transmit(port);
  }

  pump(): void {
    if (!this.#transport.running) return;
    for (const port of this.#ports) {
      if (port.output !== null) this.#transmit(port);
      this.#receive(port);
    }
  }

  get hasInput(): boolean {
    if (!this.#transport.running) return false;
    return this.#ports.some((port) =>
      (port.input.length === 0 && this.#takesInput(port) && port.backend.hasInput) ||
      (port.output !== null && port.backend.hasRoom)
    );
  }

  /** Whether the driver wants what comes in now: ports of several have to be opened, and buffers must be there. */
  #takesInput({ number, isConsole }: Port): boolean {
    const open = isConsole || !this.#transport.has(F.MULTIPORT) || this.#open[number] !== 0;
    return open && this.#transport.queues[queueOf(number)]!.waiting > 0;
  }

  #receive(port: Port): void {
    const queue = this.#transport.queues[queueOf(port.number)]!;
    while (this.#takesInput(port)) {
      if (port.input.length === 0) port.input = port.backend.receive() ?? NONE;
      if (port.input.length === 0) break;
      const chain = queue.take();
      if (chain === null) return;
      const count = chain.write(0, port.input.subarray(0, Math.min(port.input.length, chain.writableBytes)));
      port.input = port.input.subarray(count);
      this.counters.receivedBytes += count;
      queue.put(chain, count);
    }
    queue.flush();
  }

  #transmit(port: Port): void {
    const queue = this.#transport.queues[queueOf(port.number) + 1]!, { backend } = port, chunk = this.#chunk;
    for (;;) {
      const chain = port.output?.chain ?? queue.take();
      if (chain === null) break;
      let at = port.output?.at ?? 0;
      port.output = null;
      while (at < chain.readableBytes) {
        const count = chain.read(at, chunk), taken = backend.transmit(chunk.subarray(0, count));
        at += taken;
        this.counters.sentBytes += taken;
        if (taken < count) {
          port.output = { chain, at };
          backend.flush();
          return queue.flush();
        }
      }
      queue.put(chain, 0);
    }
    backend.flush();
    queue.flush();
  }

  #takeControl(): void {
    const queue = this.#transport.queues[CONTROL_OUT]!, message = new Uint8Array(CONTROL_BYTES);
    const view = new DataView(message.buffer);
    for (let chain = queue.take(); chain !== null; chain = queue.take()) {
      const whole = chain.read(0, message) === CONTROL_BYTES;
      this.counters.controlMessages++;
      queue.put(chain, 0);
      if (whole) this.#act(view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true));
      else this.#transport.complain("a control message is too short");
    }
    queue.flush();
    this.#sendControl();
  }

  #act(number: number, event: number, value: number): void {
    const { DEVICE_READY, DEVICE_ADD, PORT_READY, CONSOLE_PORT, PORT_OPEN, PORT_NAME } = CONSOLE_EVENT;
    if (event === DEVICE_READY) {
      if (value === 0) return this.#transport.complain("the driver could not set the device up");
      for (const port of this.#ports) this.#say(port.number, DEVICE_ADD, 1);
      return;
    }
    const port = this.#ports.find((port) => port.number === number);
    if (port === undefined) {
      return this.#transport.complain(`control message ${event} for port ${number}: there is none`);
    }
    switch (event) {
      case PORT_READY:
        if (value === 0) return this.#transport.complain(`the driver could not set port ${number} up`);
        if (port.isConsole) this.#say(number, CONSOLE_PORT, 1);
        if (port.name !== "") this.#say(number, PORT_NAME, 1, new TextEncoder().encode(port.name));
        return this.#say(number, PORT_OPEN, 1);
      case PORT_OPEN:
        this.#open[number] = value === 0 ? 0 : 1;
        return this.#receive(port);
      default:
        this.#transport.complain(`control message ${event} is not known`);
    }
  }

  #say(number: number, event: number, value: number, more: Uint8Array = NONE): void {
    if (this.#control.length >= MOST_WAITING) return this.#transport.complain("the driver takes no control messages");
    const message = new Uint8Array(CONTROL_BYTES + more.length), view = new DataView(message.buffer);
    view.setUint32(0, number, true);
    view.setUint16(4, event, true);
    view.setUint16(6, value, true);
    message.set(more, CONTROL_BYTES);
    this.#control.push(message);
  }

  #sendControl(): void {
    const queue = this.#transport.queues[CONTROL_IN]!;
    while (this.#control.length > 0) {
      const chain = queue.take();
      if (chain === null) break;
      queue.put(chain, chain.write(0, this.#control.shift()!));
    }
    queue.flush();
  }
}
