// The virtio devices of a configuration: which transport each is in, and what stands behind it on the host.

import { ImageBackend } from "../../devices/host/image.ts";
import { openImage } from "../../devices/host/image_open.ts";
import type { BlockBackend } from "../../devices/virtio/block_backend.ts";
import { VirtioBlk } from "../../devices/virtio/blk.ts";
import { type BalloonBackend, VirtioBalloon } from "../../devices/virtio/balloon.ts";
import type { NetBackend } from "../../devices/net/port.ts";
import { VirtioConsole } from "../../devices/virtio/console.ts";
import type { PortBackend } from "../../devices/virtio/console_backend.ts";
import type { VirtioDevice } from "../../devices/virtio/device.ts";
import { VirtioP9 } from "../../devices/virtio/p9.ts";
import { VirtioNet } from "../../devices/virtio/net.ts";
import { VirtioRng } from "../../devices/virtio/rng.ts";
import { VirtioVsock, type VsockBackend } from "../../devices/virtio/vsock.ts";
import { assert } from "../base/errors.ts";
import type { ConsolePortConfig, DriveConfig, MachineConfig, VirtioConfig } from "./config.ts";
import type { RandomBytes } from "./device_tree.ts";
import { VIRTIO_SLOTS } from "./memory_map.ts";
import type { Shares } from "./shares.ts";

/** The host's side of disks, by their ids. */
export type Drives = ReadonlyMap<string, BlockBackend>;

/** The host's side of the ports of consoles. */
export type Consoles = ReadonlyMap<ConsolePortConfig, PortBackend>;

/** The ways to the host's sockets, by their devices. */
export type Vsocks = ReadonlyMap<VirtioConfig, VsockBackend>;

/** Nobody wants anything, and the host takes nothing. */
const IDLE_BALLOON: BalloonBackend = { next: () => null, taken: () => {}, hasInput: false, release: () => {} };

/**
 * By transport, lowest address first: the device there, if any. As on QEMU's board the first device takes the transport
 * with the highest address, so that Linux, which looks at the lowest one first, counts them backwards.
 */
export function virtioSlots(configs: readonly VirtioConfig[]): (VirtioConfig | undefined)[] {
  const slots = new Array<VirtioConfig | undefined>(VIRTIO_SLOTS).fill(undefined);
  for (const config of configs) if (config.slot !== null) slots[config.slot] = config;
  for (const config of configs) {
    if (config.slot !== null) continue;
    const free = slots.lastIndexOf(undefined);
    assert(free >= 0, "there are no more devices than transports");
    slots[free] = config;
  }
  return slots;
}

/** What the devices are handed. */
export interface VirtioSurroundings {
  readonly random: RandomBytes;
  readonly drives: Drives;
  /** The host's side of network devices, by the ids of their back ends. */
  readonly networks: ReadonlyMap<string, NetBackend>;
  readonly consoles: Consoles;
  readonly shares: Shares;
  readonly vsocks: Vsocks;
  /** Null where nobody wants anything of a balloon. */
  readonly balloon: BalloonBackend | null;
}

/** The devices by their transports. */
export function makeVirtioDevices(config: MachineConfig, around: VirtioSurroundings): (VirtioDevice | undefined)[] {
  return virtioSlots(config.virtio).map((device) => device && makeDevice(device, config, around));
}

function makeDevice(device: VirtioConfig, config: MachineConfig, around: VirtioSurroundings): VirtioDevice {
  const { random, drives, networks, consoles, shares, vsocks, balloon } = around;
  switch (device.kind) {
    case "rng":
      return new VirtioRng(random);
    case "9p": {
      const options = shares.get(device);
      assert(options !== undefined, `directory ${device.share} is open`);
      return new VirtioP9(options);
    }
    case "blk": {
      const { serial, queues, queueSize } = device;
      const drive = config.drives.find(({ id }) => id === device.drive), backend = drives.get(device.drive);
      assert(drive !== undefined && backend !== undefined, `drive ${device.drive} is open`);
      return new VirtioBlk({ backend, serial, queues, queueSize, writeCache: drive.writeBack });
    }
    case "serial":
      return new VirtioConsole({
        maxPorts: device.maxPorts,
        ports: device.ports.map((port) => {
          const backend = consoles.get(port);
          assert(backend !== undefined, `console ${port.chardev} is there`);
          return { ...port, backend };
        }),
      });
    case "vsock": {
      const backend = vsocks.get(device);
      assert(backend !== undefined, `socket ${device.path} is there`);
      return new VirtioVsock({ backend, guestCid: device.guestCid });
    }
    case "balloon":
      return new VirtioBalloon({ ...device, backend: balloon ?? IDLE_BALLOON });
    case "net": {
      const backend = networks.get(device.netdev);
      assert(backend !== undefined, `network ${device.netdev} is there`);
      return new VirtioNet({ backend, mac: Uint8Array.from(device.mac), mtu: device.mtu, offloads: true });
    }
  }
}

/** Opens a disk that is on a server. */
export type OpenRemote = (drive: DriveConfig, warn: (line: string) => void) => BlockBackend;

/** Opens all disks; `warn` is told of what the host refuses later. Throws HostError, with none of them open. */
export function openDrives(
  configs: readonly DriveConfig[],
  warn: (line: string) => void,
  openRemote: OpenRemote,
): Map<string, BlockBackend> {
  const drives = new Map<string, BlockBackend>();
  try {
    for (const config of configs) {
      const { id, source, discard, unsafe } = config, warnOf = (line: string) => warn(`${id}: ${line}`);
      const backend = source.kind === "nbd"
        ? openRemote(config, warnOf)
        : new ImageBackend(openImage({ ...config, path: source.path }), { discard, unsafe, warn: warnOf });
      drives.set(id, backend);
    }
  } catch (error) {
    for (const drive of drives.values()) drive.close();
    throw error;
  }
  return drives;
}
