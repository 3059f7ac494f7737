// The networks of a configuration: for each network device a port in shared memory, between the device in the machine's
// thread and its other end on the daemon's.

import type { Warn } from "../../devices/host/character.ts";
import { StreamNet } from "../../devices/host/net_stream.ts";
import { UserNetEnd } from "../../devices/host/net_user.ts";
import type { NetworkEnd, PortSide } from "../../devices/net/end.ts";
import type { InputGate } from "../../devices/net/input.ts";
import { createPortMemory, type NetBackend, NetPort, PortBackend } from "../../devices/net/port.ts";
import { sharedNowMs } from "../base/clock.ts";
import { assert, HostError } from "../base/errors.ts";
import type { Channel } from "./channel.ts";
import type { MachineConfig, NetdevConfig } from "./config.ts";

/** How long a machine whose time follows instructions waits for the host to take a frame. */
const PATIENCE_MS = 2000;

/** The ids of the back ends that have a device, in the devices' order: a port for each. */
export const netPortIds = ({ virtio }: MachineConfig): string[] =>
  virtio.flatMap((device) => device.kind === "net" ? [device.netdev] : []);

export const createNetPorts = (config: MachineConfig): SharedArrayBuffer[] => netPortIds(config).map(createPortMemory);

/** The machine's sides of the ports, by the ids of their back ends. */
export function machineNetworks(
  config: MachineConfig,
  memories: readonly SharedArrayBuffer[],
  channel: Channel,
  gate: InputGate,
): Map<string, NetBackend> {
  const { machineBell, daemonBell } = channel;
  const waitForRoom = (hasRoom: () => boolean) => {
    const limit = sharedNowMs() + PATIENCE_MS;
    while (!hasRoom() && !channel.quitting && sharedNowMs() < limit) {
      daemonBell.ring();
      machineBell.wait(() => !hasRoom() && !channel.quitting, limit - sharedNowMs());
    }
    return hasRoom();
  };
  return new Map(
    netPortIds(config).map((id, index) => {
      const port = new NetPort(memories[index]!), ring = () => daemonBell.ring();
      return [
        id,
        new PortBackend({ port, index, gate, ring, waitForRoom: config.icount === null ? null : waitForRoom }),
      ];
    }),
  );
}

/** The daemon's sides. */
export class Networks {
  readonly #ends: { readonly id: string; readonly end: NetworkEnd }[] = [];
  #closed = false;

  constructor(private readonly notice: (line: string) => void) {}

  /** Opens all ends that have a device. Throws HostError. */
  async open(config: MachineConfig, memories: readonly SharedArrayBuffer[], channel: Channel): Promise<void> {
    for (const [index, id] of netPortIds(config).entries()) {
      const netdev = config.netdevs.find((netdev) => netdev.id === id);
      assert(netdev !== undefined, `network ${id} has another end`);
      const side: PortSide = { port: new NetPort(memories[index]!), wake: () => channel.machineBell.ring() };
      const end = await this.#openEnd(side, netdev, (line) => this.notice(`${id}: ${line}`));
      this.#ends.push({ id, end });
      // The run ended while this one was being opened.
      if (this.#closed) end.close();
    }
  }

  get idle(): boolean {
    return this.#ends.every(({ end }) => end.idle);
  }
  service(): void {
    for (const { end } of this.#ends) end.service();
  }

  /** One line per network, for the monitor. */
  info(): string[] {
    return this.#ends.map(({ id, end: { name, state } }) => `${id}: ${name}${state === "" ? "" : ` (${state})`}`);
  }

  close(): void {
    this.#closed = true;
    for (const { end } of this.#ends) end.close();
  }

  async #openEnd(side: PortSide, { backend }: NetdevConfig, warn: Warn): Promise<NetworkEnd> {
    switch (backend.kind) {
      case "stream": {
        const end = await StreamNet.open(side, backend, warn);
        if (backend.server) warn(`listening on ${end.name.replace(/^stream:/, "")}`);
        return end;
      }
      case "user":
        return await UserNetEnd.open(side, backend, sharedNowMs, warn);
      default:
        throw new HostError(`cannot open a network of kind ${backend.kind}: not implemented yet`);
    }
  }
}
