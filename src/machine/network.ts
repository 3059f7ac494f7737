// The networks of a configuration: for each network device a port in shared memory, between the device in the machine's
// thread and its other end on the daemon's.

import type { Warn } from "../../devices/host/character.ts";
import { DgramNet } from "../../devices/host/net_dgram.ts";
import { FrameDump } from "../../devices/host/net_dump.ts";
import { StreamNet } from "../../devices/host/net_stream.ts";
import { UserNetEnd } from "../../devices/host/net_user.ts";
import { giveLink, type NetworkEnd, type PortSide } from "../../devices/net/end.ts";
import { Hub, HubPort, HubUplink } from "../../devices/net/hub.ts";
import type { InputGate } from "../../devices/net/input.ts";
import { createPortMemory, LINK, NetPort, PortBackend, WANTS } from "../../devices/net/port.ts";
import { hostWallSeconds, sharedNowMs } from "../base/clock.ts";
import { assert } from "../base/errors.ts";
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
): Map<string, PortBackend> {
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
        new PortBackend({
          ...{ port, index, gate, ring, nowMs: sharedNowMs },
          waitForRoom: config.icount === null ? null : waitForRoom,
        }),
      ];
    }),
  );
}

/** The daemon's sides. */
export class Networks {
  readonly #ends: { readonly id: string; readonly end: NetworkEnd; readonly side: PortSide }[] = [];
  /** What the operator wants of links, where there was no room to tell the guest. */
  readonly #untold = new Map<PortSide, boolean>();
  readonly #dumps: FrameDump[] = [];
  readonly #hubs = new Map<number, Hub>();
  #closed = false;

  constructor(private readonly notice: (line: string) => void) {}

  /** Opens all ends that have a device, or are at a hub. Throws HostError. */
  async open(config: MachineConfig, memories: readonly SharedArrayBuffer[], channel: Channel): Promise<void> {
    for (const [index, id] of netPortIds(config).entries()) {
      const netdev = config.netdevs.find((netdev) => netdev.id === id);
      assert(netdev !== undefined, `network ${id} has another end`);
      const side: PortSide = { port: new NetPort(memories[index]!), wake: () => channel.machineBell.ring() };
      const warn: Warn = (line) => this.notice(`${id}: ${line}`);
      this.#openDumps(side, netdev, warn);
      const end = await this.#openEnd(side, netdev, warn);
      this.#add(id, end, side);
    }
    for (const { backend } of config.netdevs) {
      if (backend.kind !== "hub" || backend.netdev === null) continue;
      const netdev = config.netdevs.find(({ id }) => id === backend.netdev);
      assert(netdev !== undefined, `network ${backend.netdev} is there`);
      const warn: Warn = (line) => this.notice(`${netdev.id}: ${line}`), uplink = new HubUplink(this.#hub(backend.hub));
      this.#openDumps(uplink.side, netdev, warn);
      uplink.end = await this.#openEnd(uplink.side, netdev, warn);
      this.#add(netdev.id, uplink.end, uplink.side);
    }
  }
  #add(id: string, end: NetworkEnd, side: PortSide): void {
    this.#ends.push({ id, end, side });
    // The run ended while this one was being opened.
    if (this.#closed) end.close();
  }

  #hub(number: number): Hub {
    const hub = this.#hubs.get(number) ?? new Hub(number);
    this.#hubs.set(number, hub);
    return hub;
  }

  get idle(): boolean {
    return this.#ends.every(({ end }) => end.idle) &&
      [...this.#untold.keys()].every(({ port }) => !port.hasRoomForLink);
  }
  service(): void {
    for (const [side, up] of this.#untold) this.#tellLink(side, up);
    for (const { end } of this.#ends) end.service();
  }

  /**
   * Plugs the cable of the network with this id in, or pulls it. It takes effect in the order of the frames, and a
   * recording has it. False when there is no such network.
   */
  setLink(id: string, up: boolean): boolean {
    const found = this.#ends.find((each) => each.id === id);
    if (found !== undefined) this.#tellLink(found.side, up);
    return found !== undefined;
  }
  #tellLink(side: PortSide, up: boolean): void {
    const { port } = side, told = giveLink(port, LINK.OPERATOR | (up ? LINK.UP : 0));
    if (told) this.#untold.delete(side);
    else {
      this.#untold.set(side, up);
      port.wake(WANTS.ROOM_FOR_LINK, true);
    }
    side.wake();
  }

  /** One line per network, for the monitor. */
  info(): string[] {
    return this.#ends.map(({ id, end: { name, state } }) => `${id}: ${name}${state === "" ? "" : ` (${state})`}`);
  }

  close(): void {
    this.#closed = true;
    for (const { end } of this.#ends) end.close();
    for (const dump of this.#dumps.splice(0)) dump.close();
  }

  #openDumps({ port }: PortSide, { dumps }: NetdevConfig, warn: Warn): void {
    const opened = dumps.map(({ file, mostBytes }) => new FrameDump(file, mostBytes, hostWallSeconds, warn));
    if (opened.length === 0) return;
    this.#dumps.push(...opened);
    port.toHost.tap = port.toGuest.tap = (record) => opened.forEach((dump) => dump.record(record));
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
      case "dgram":
        return await DgramNet.open(side, backend);
      case "hub":
        return new HubPort(side, this.#hub(backend.hub));
    }
  }
}
