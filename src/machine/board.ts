// Which devices a machine has: one list, made from the configuration, from which the machine builds the physical bus and
// the device tree is written. Interrupt controller and timers are listed with their place and built by the machine; the
// others are built here.

import { EmptyFlash } from "../../devices/flash.ts";
import { FW_CFG_STATE, FwCfg } from "../../devices/fw_cfg.ts";
import { Pl011, PL011_STATE, type SerialBackend } from "../../devices/pl011.ts";
import { Pl031, PL031_STATE } from "../../devices/pl031.ts";
import { Pl061, PL061_STATE } from "../../devices/pl061.ts";
import type { GuestErrors } from "../../devices/registers.ts";
import type { VirtioDevice } from "../../devices/virtio/device.ts";
import { GuestMemory } from "../../devices/virtio/memory.ts";
import { EmptyVirtioMmio, VIRTIO_MMIO_BYTES, VirtioMmio, virtioStateBytes } from "../../devices/virtio/mmio.ts";
import { cpuModel } from "../arch/models.ts";
import { assert } from "../base/errors.ts";
import type { MmioRegion, PhysicalBus } from "../memory/bus.ts";
import { PAGE_BYTES } from "../memory/host_map.ts";
import type { Line } from "../memory/line.ts";
import { featuresLeftOut, type MachineConfig } from "./config.ts";
import { MEMORY_MAP, POWER_BUTTON_PIN, SPI, VIRTIO_SLOTS } from "./memory_map.ts";

export type DeviceKind =
  | "flash"
  | "gic-v2"
  | "gic-v2m"
  | "gic-v3"
  | "pl011"
  | "pl031"
  | "fw-cfg"
  | "pl061"
  | "virtio-mmio";

/** One device of the board. */
export interface BoardDevice {
  readonly kind: DeviceKind;
  readonly name: string;
  /** Register windows, the first is the one that names the device. */
  readonly windows: readonly { readonly base: number; readonly size: number }[];
  /** Shared peripheral interrupt, if it has one, counted from 0. */
  readonly spi?: number;
  readonly trigger?: "level" | "edge";
}

/** What the board is, for the machine and for the device tree. */
export interface Board {
  readonly cpus: readonly { readonly index: number; readonly mpidr: number }[];
  /** `compatible` of the CPU nodes. */
  readonly cpuCompatible: string;
  readonly ram: { readonly base: number; readonly size: number };
  readonly hasEl2: boolean;
  /** FEAT_VHE, which brings the hypervisor's virtual timer. */
  readonly hasVhe: boolean;
  /** How the guest reaches PSCI: by HVC, unless EL2 is the guest's own. */
  readonly psciConduit: "hvc" | "smc";
  readonly devices: readonly BoardDevice[];
}

/** MPIDR_EL1 affinity fields of CPU `index`, as QEMU's: 16 CPUs to a cluster with GICv3, and at most 8 with GICv2. */
export const cpuAffinity = (index: number): number => (index & 15) | (Math.floor(index / 16) << 8);

/** Lists the devices for `config`. Left out until they exist: PCIe, the ITS, the platform bus. */
export function makeBoard(config: Pick<MachineConfig, "board" | "cpu" | "cpuCount" | "ramSizeBytes">): Board {
  const { board, cpu, cpuCount, ramSizeBytes } = config;
  const map = MEMORY_MAP;
  const model = cpuModel(cpu.model, {
    el2: board.virtualization,
    gicv3: board.gicVersion === 3,
    cores: cpuCount,
    without: featuresLeftOut(cpu),
  });
  return {
    cpus: Array.from({ length: cpuCount }, (_, index) => ({ index, mpidr: cpuAffinity(index) })),
    cpuCompatible: model.compatible,
    ram: { base: map.ram.base, size: ramSizeBytes },
    hasEl2: board.virtualization,
    hasVhe: board.virtualization && model.has("FEAT_VHE"),
    psciConduit: board.virtualization ? "smc" : "hvc",
    devices: [
      { kind: "flash", name: "flash", windows: [map.flash0, map.flash1] },
      ...gicDevices(board),
      { kind: "pl011", name: "pl011", windows: [map.uart], spi: SPI.uart, trigger: "level" },
      { kind: "pl031", name: "pl031", windows: [map.rtc], spi: SPI.rtc, trigger: "level" },
      { kind: "fw-cfg", name: "fw_cfg", windows: [map.fwCfg] },
      { kind: "pl061", name: "pl061", windows: [map.gpio], spi: SPI.gpio, trigger: "level" },
      ...Array.from({ length: VIRTIO_SLOTS }, (_, slot): BoardDevice => ({
        kind: "virtio-mmio",
        name: `virtio-mmio.${slot}`,
        windows: [{ base: map.virtio.base + slot * VIRTIO_MMIO_BYTES, size: VIRTIO_MMIO_BYTES }],
        spi: SPI.virtio + slot,
        trigger: "edge",
      })),
    ],
  };
}

function gicDevices({ gicVersion, virtualization }: MachineConfig["board"]): BoardDevice[] {
  const map = MEMORY_MAP;
  if (gicVersion === 3) {
    return [{ kind: "gic-v3", name: "gic", windows: [map.gicDistributor, map.gicRedistributors] }];
  }
  const virtual = virtualization ? [map.gicV2Hypervisor, map.gicV2VirtualCpu] : [];
  return [
    { kind: "gic-v2", name: "gic", windows: [map.gicDistributor, map.gicV2Cpu, ...virtual] },
    { kind: "gic-v2m", name: "v2m", windows: [map.gicV2m] },
  ];
}

/** What the devices are handed. */
export interface BoardSurroundings {
  readonly bus: PhysicalBus;
  readonly memory: ArrayBufferLike;
  /** Where the devices' state goes: `boardStateBytes` from here, 16-aligned. */
  readonly stateBase: number;
  /** Bytes of flash 0 that are mapped as ROM, a multiple of 4 KiB. */
  readonly firmwareBytes: number;
  /** The input of the interrupt controller for a shared peripheral interrupt, counted from 0. */
  readonly line: (spi: number) => Line;
  readonly serial: SerialBackend;
  /** By transport: the virtio device in it, if any. */
  readonly virtio?: readonly (VirtioDevice | undefined)[];
  /** What else takes input from outside between slices. */
  readonly semihosting?: { readonly hasInput: boolean; pump(): void } | null;
  /** Seconds since 1970. */
  readonly wallSeconds: () => number;
  /** fw_cfg items by key and files by name, beyond what every machine has. */
  readonly fwCfgItems?: ReadonlyMap<number, Uint8Array>;
  readonly fwCfgFiles?: ReadonlyMap<string, Uint8Array>;
  readonly guestErrors: GuestErrors;
  /** Told of every register access, for the trace; absent costs nothing. */
  readonly onAccess?: OnAccess;
}

export type OnAccess = (device: string, write: boolean, offset: number, bytes: number, value: number) => void;

/** A region that tells of its accesses. */
const observed = (region: MmioRegion, onAccess: OnAccess): MmioRegion => ({
  name: region.name,
  base: region.base,
  size: region.size,
  read: (offset, bytes, cpu) => {
    const value = region.read(offset, bytes, cpu);
    onAccess(region.name, false, offset, bytes, value);
    return value;
  },
  write: (offset, bytes, value, cpu) => {
    onAccess(region.name, true, offset, bytes, value);
    region.write(offset, bytes, value, cpu);
  },
});

/** The built devices that the machine talks to. */
export interface BoardDevices {
  readonly uart: Pl011;
  readonly rtc: Pl031;
  readonly gpio: Pl061;
  readonly fwCfg: FwCfg;
  /** The virtio transports that have a device. */
  readonly virtio: readonly VirtioMmio[];
  /** Whether something has come from outside that `pump` would take, serial ports aside. */
  readonly hasInput: boolean;
  /** Presses (true) or releases the power button; a release must come some 100 ms after its press. */
  powerButton(pressed: boolean): void;
  /** Between slices: moves waiting input, output and due alarms. */
  pump(): void;
  reset(): void;
}

/** State of all devices that `buildDevices` makes. */
export const boardStateBytes = (virtio: readonly (VirtioDevice | undefined)[]): number =>
  virtio.reduce(
    (bytes, device) => bytes + (device === undefined ? 0 : virtioStateBytes(device)),
    PL011_STATE.size + PL031_STATE.size + PL061_STATE.size + FW_CFG_STATE.size,
  );

/** Builds the board's devices (all but the interrupt controller) and puts them on the bus. */
export function buildDevices(board: Board, around: BoardSurroundings): BoardDevices {
  const { bus, memory, guestErrors, onAccess } = around;
  const add = (region: MmioRegion) => bus.addRegion(onAccess === undefined ? region : observed(region, onAccess));
  assert(around.firmwareBytes % PAGE_BYTES === 0, "firmware consists of whole pages");
  let stateBase = around.stateBase;
  const take = (bytes: number) => (stateBase += bytes) - bytes;
  const lineOf = ({ spi }: BoardDevice): Line => spi === undefined ? () => {} : around.line(spi);
  const place = (kind: DeviceKind) => {
    const device = board.devices.find((d) => d.kind === kind);
    assert(device !== undefined, `the board has a ${kind}`);
    return { base: device.windows[0]!.base, memory, guestErrors, line: lineOf(device) };
  };
  const uart = new Pl011({ ...place("pl011"), stateBase: take(PL011_STATE.size), backend: around.serial });
  const rtc = new Pl031({ ...place("pl031"), stateBase: take(PL031_STATE.size), wallSeconds: around.wallSeconds });
  const gpio = new Pl061({ ...place("pl061"), stateBase: take(PL061_STATE.size) });
  const fwCfg = new FwCfg({
    ...place("fw-cfg"),
    stateBase: take(FW_CFG_STATE.size),
    dma: bus,
    cpuCount: board.cpus.length,
    items: around.fwCfgItems ?? new Map(),
    files: around.fwCfgFiles ?? new Map(),
  });
  for (const region of [uart, rtc, gpio, fwCfg]) add(region);
  const guestMemory = new GuestMemory(memory, bus), virtio: VirtioMmio[] = [];
  board.devices.filter(({ kind }) => kind === "virtio-mmio").forEach((slot, index) => {
    const { name, windows } = slot, { base } = windows[0]!, device = around.virtio?.[index];
    if (device === undefined) return add(new EmptyVirtioMmio(name, base, guestErrors));
    const options = { name, base, guestErrors, memory: guestMemory, buffer: memory, line: lineOf(slot) };
    const transport = new VirtioMmio(device, { ...options, stateBase: take(virtioStateBytes(device)) });
    virtio.push(transport);
    add(transport);
  });
  for (const { kind, name, windows } of board.devices) {
    if (kind !== "flash") continue;
    windows.forEach(({ base, size }, bank) => {
      const used = bank === 0 ? around.firmwareBytes : 0;
      if (used < size) add(new EmptyFlash(`${name}${bank}`, base + used, size - used, guestErrors));
    });
  }
  const pumped = virtio.filter(({ device }) => device.pump !== undefined);
  return {
    uart,
    rtc,
    gpio,
    fwCfg,
    virtio,
    get hasInput() {
      return virtio.some(({ device }) => device.hasInput === true) || around.semihosting?.hasInput === true;
    },
    powerButton: (pressed) => gpio.setInput(POWER_BUTTON_PIN, pressed),
    pump: () => {
      uart.pump();
      rtc.pump();
      for (const transport of pumped) transport.pump();
      around.semihosting?.pump();
    },
    reset: () => [uart, rtc, gpio, fwCfg, ...virtio].forEach((device) => device.reset()),
  };
}
