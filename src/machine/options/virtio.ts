// `-device virtio-*-device`: the devices in the board's virtio-mmio transports, and what they need of other options.

import { UsageError } from "../../base/errors.ts";
import type { DriveConfig, NetdevConfig, ShareConfig, VirtioConfig } from "../config.ts";
import { VIRTIO_SLOTS } from "../memory_map.ts";
import { field, type Given, type Option, type Variant, variant, variantsOption } from "./declare.ts";
import { type BlockdevDraft, blockdevDrives, blockdevOption, newBlockdevDraft } from "./blockdev.ts";
import { type DriveDraft, driveOptions, newDriveDraft } from "./drive.ts";
import {
  NET_FIELDS,
  netConfig,
  netDevice,
  type NetDraft,
  netObjects,
  netOptions,
  newNetDraft,
  withAddresses,
} from "./net.ts";
import { chardevConfig, type ChardevDraft } from "./chardev.ts";
import {
  newShareDraft,
  P9_FIELDS,
  p9Device,
  shareConfig,
  sharedDevices,
  type ShareDraft,
  shareOptions,
} from "./share.ts";
import { count, FILE, text, type ValueKind } from "./values.ts";
import { BALLOON_FIELDS, balloonDevice, checkSingle, VSOCK_FIELDS, vsockDevice } from "./vsock.ts";
import { SERIAL_FIELDS, serialDevice, serialDrivers, withPorts } from "./virtio_serial.ts";

export interface VirtioDraft extends DriveDraft, BlockdevDraft, NetDraft, ShareDraft {
  virtio: VirtioConfig[];
  /** Sources of randomness that were named. */
  rngObjects: string[];
}
export const newVirtioDraft = (): VirtioDraft => ({
  ...newDriveDraft(),
  ...newBlockdevDraft(),
  ...newNetDraft(),
  ...newShareDraft(),
  virtio: [],
  rngObjects: [],
});

const SLOT: ValueKind<number> = {
  form: "virtio-mmio-bus.N",
  parse(value) {
    const slot = /^virtio-mmio-bus\.(\d+)$/.exec(value)?.[1];
    if (slot === undefined || Number(slot) >= VIRTIO_SLOTS) {
      throw new UsageError(`"${value}" is not virtio-mmio-bus.0 to virtio-mmio-bus.${VIRTIO_SLOTS - 1}`);
    }
    return Number(slot);
  },
};

/** Sub-options of every virtio device. */
export const VIRTIO_FIELDS = {
  id: field(text("ID"), "its name"),
  bus: field(SLOT, "the transport (the highest one that is free)"),
};
/** What they say. */
export const virtioCommon = ({ id, bus }: Given<typeof VIRTIO_FIELDS>): { id: string; slot: number | null } => ({
  id: id ?? "",
  slot: bus ?? null,
});

const MOST_QUEUES = 16, QUEUE_SIZE = 256;
const POWER_OF_TWO: ValueKind<number> = {
  form: "4…1024",
  parse(value) {
    const size = count("4…1024", 4, 1024).parse(value);
    if (!Number.isInteger(Math.log2(size))) throw new UsageError(`"${value}" is not a power of two`);
    return size;
  },
};

const BLK_FIELDS = {
  drive: field(text("ID"), "its -drive"),
  serial: field(text("TEXT"), "serial number, at most 20 bytes"),
  "num-queues": field(count(`1…${MOST_QUEUES}`, 1, MOST_QUEUES), "number of queues (1)"),
  "queue-size": field(POWER_OF_TWO, `entries of each queue (${QUEUE_SIZE})`),
  ...VIRTIO_FIELDS,
};

const blk = (drive: string, serial = "", queues = 1, queueSize = QUEUE_SIZE) =>
  ({ kind: "blk", drive, serial, queues, queueSize }) as const;

function addBlk(draft: VirtioDraft, given: Given<typeof BLK_FIELDS>): void {
  const { drive, serial } = given;
  if (drive === undefined) throw new UsageError("needs drive");
  draft.virtio.push({ ...virtioCommon(given), ...blk(drive, serial, given["num-queues"], given["queue-size"]) });
}

const SERIAL_DEVICE_FIELDS = { ...SERIAL_FIELDS, ...VIRTIO_FIELDS };
const P9_DEVICE_FIELDS = { ...P9_FIELDS, ...VIRTIO_FIELDS };
const NET_DEVICE_FIELDS = { ...NET_FIELDS, ...VIRTIO_FIELDS };

const VSOCK_DEVICE_FIELDS = { ...VSOCK_FIELDS, ...VIRTIO_FIELDS };
const BALLOON_DEVICE_FIELDS = { ...BALLOON_FIELDS, ...VIRTIO_FIELDS };

const RNG_FIELDS = { rng: field(text("ID"), "its -object (the host's random numbers)"), ...VIRTIO_FIELDS };

function addRng(draft: VirtioDraft, given: Given<typeof RNG_FIELDS>): void {
  const { rng } = given;
  if (rng !== undefined && !draft.rngObjects.includes(rng)) throw new UsageError(`there is no -object with id=${rng}`);
  draft.virtio.push({ ...virtioCommon(given), kind: "rng" });
}

export function virtioDrivers<D extends VirtioDraft>(): readonly Variant<D>[] {
  return [
    variant("virtio-blk-device virtio-blk", BLK_FIELDS, "a disk", addBlk),
    variant<D, typeof NET_DEVICE_FIELDS>(
      "virtio-net-device virtio-net",
      NET_DEVICE_FIELDS,
      "a network card",
      (draft, given) => void draft.virtio.push(netDevice(given, virtioCommon(given))),
    ),
    variant("virtio-rng-device virtio-rng", RNG_FIELDS, "random numbers", addRng),
    variant<D, typeof SERIAL_DEVICE_FIELDS>(
      "virtio-serial-device virtio-serial",
      SERIAL_DEVICE_FIELDS,
      "consoles and ports",
      (draft, given) => void draft.virtio.push({ ...virtioCommon(given), ...serialDevice(given) }),
    ),
    ...serialDrivers<D>(),
    variant<D, typeof VSOCK_DEVICE_FIELDS>(
      "vhost-vsock-device vhost-vsock virtio-vsock-device",
      VSOCK_DEVICE_FIELDS,
      "sockets between the guest and this host's Unix sockets",
      (draft, given) => void draft.virtio.push({ ...virtioCommon(given), ...vsockDevice(given) }),
    ),
    variant<D, typeof BALLOON_DEVICE_FIELDS>(
      "virtio-balloon-device virtio-balloon",
      BALLOON_DEVICE_FIELDS,
      "takes memory from the guest and gives it back",
      (draft, given) => void draft.virtio.push({ ...virtioCommon(given), ...balloonDevice(given) }),
    ),
    variant<D, typeof P9_DEVICE_FIELDS>(
      "virtio-9p-device virtio-9p",
      P9_DEVICE_FIELDS,
      "a directory of the host",
      (draft, given) => void draft.virtio.push(p9Device(given, virtioCommon(given))),
    ),
  ];
}

const OBJECT_FIELDS = { id: field(text("ID"), "its name") };
function addRngObject(draft: VirtioDraft, { id }: { id?: string }): void {
  if (id === undefined) throw new UsageError("needs id");
  draft.rngObjects.push(id);
}

export function virtioOptions<D extends VirtioDraft>(): readonly Option<D>[] {
  return [
    ...driveOptions<D>(),
    blockdevOption<D>(),
    ...netOptions<D>(),
    ...shareOptions<D>(),
    variantsOption("object", "qom-type", "something that a device uses", [
      variant("rng-builtin", OBJECT_FIELDS, "random numbers, the host's or those of -seed", addRngObject),
      variant(
        "rng-random",
        { ...OBJECT_FIELDS, filename: field(FILE, "accepted") },
        "the same",
        addRngObject,
      ),
      ...netObjects<D>(),
    ]),
  ];
}

/** Their part of the configuration: devices with what they need, each drive for one device. */
export function virtioConfig(
  draft: VirtioDraft & ChardevDraft,
): { drives: DriveConfig[]; virtio: VirtioConfig[]; netdevs: NetdevConfig[]; shares: ShareConfig[] } {
  const drives = [...draft.drives, ...blockdevDrives(draft)];
  const board = draft.boardDrives.map(({ drive, serial }): VirtioConfig => ({
    id: "",
    slot: null,
    ...blk(drive, serial),
  }));
  const devices = withPorts([...draft.virtio, ...draft.nics, ...board, ...sharedDevices(draft)], chardevConfig(draft));
  const virtio = withAddresses(devices), used = new Set<string>(), slots = new Set<number>();
  for (const device of virtio) {
    if (device.slot !== null && slots.has(device.slot)) {
      throw new UsageError(`option -device: virtio-mmio-bus.${device.slot} has two devices`);
    }
    if (device.slot !== null) slots.add(device.slot);
    if (device.kind !== "blk") continue;
    if (!drives.some(({ id }) => id === device.drive)) {
      throw new UsageError(`option -device: virtio-blk-device: there is no -drive or -blockdev called ${device.drive}`);
    }
    if (used.has(device.drive)) throw new UsageError(`option -device: drive ${device.drive} has two devices`);
    used.add(device.drive);
  }
  checkSingle(virtio);
  if (virtio.length > VIRTIO_SLOTS) {
    throw new UsageError(`${virtio.length} virtio devices are too many: ${VIRTIO_SLOTS} is the most`);
  }
  return { drives, virtio, netdevs: netConfig(draft, virtio), shares: shareConfig(draft, virtio) };
}
