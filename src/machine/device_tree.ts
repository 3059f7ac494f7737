// The board's device tree: written from the same list of devices that the machine is built from, with the nodes and
// properties of QEMU's `virt` (hw/arm/virt.c, hw/arm/boot.c); a test compares the two. A tree given with `-dtb` is taken
// as it is and completed as QEMU does. Left out until the devices exist: PCIe, the ITS, the PMU, the platform bus.

import { HostError } from "../base/errors.ts";
import type { Board, BoardDevice } from "./board.ts";
import { cells, child, type DeviceTree, type FdtNode, flag, node, readCells, strings, wide } from "./fdt.ts";
import { APB_CLOCK_HZ, POWER_BUTTON_PIN, PPI } from "./memory_map.ts";

/** Interrupt specifiers of the GIC's binding: type, number, flags. */
const TYPE_SPI = 0, TYPE_PPI = 1;
const EDGE_RISING = 1, LEVEL_HIGH = 4;
/** linux,code of the power button. */
const KEY_POWER = 116;
const ACTIVE_HIGH = 0;

const PHANDLE = { clock: 0x8000, gic: 0x8001, gpio: 0x8002, v2m: 0x8003, cpu: 0x8100 } as const;
const RNG_SEED_BYTES = 32, KASLR_SEED_BYTES = 8;

/** An image that a hypervisor is to start as its first guest, or that guest's RAM disk: a multiboot module. */
export interface BootModule {
  readonly address: number;
  readonly size: number;
  readonly role: "kernel" | "ramdisk";
  readonly bootargs: string | null;
}

/** What a boot adds to the hardware's description. */
export interface BootInformation {
  /** Kernel command line. */
  readonly bootargs: string | null;
  /** Guest physical addresses of the initial RAM disk's first byte and the one behind its last. */
  readonly initrd: { readonly start: number; readonly end: number } | null;
  readonly modules?: readonly BootModule[];
}

/** A source of random bytes, handed in so that a run can be repeated. */
export type RandomBytes = (count: number) => Uint8Array;

const hex = (n: number): string => n.toString(16);
const reg = (windows: readonly { base: number; size: number }[]): Uint8Array =>
  cells(...windows.flatMap(({ base, size }) => [...wide(base), ...wide(size)]));

const primeCell = (device: BoardDevice, type: string, clockNames: readonly string[]): FdtNode =>
  node(`${type}@${hex(device.windows[0]!.base)}`, {
    "compatible": strings(`arm,${type}`, "arm,primecell"),
    "reg": reg(device.windows),
    "interrupts": interrupts(device),
    "clocks": cells(...clockNames.map(() => PHANDLE.clock)),
    "clock-names": strings(...clockNames),
  });

const interrupts = (device: BoardDevice): Uint8Array =>
  cells(TYPE_SPI, device.spi ?? 0, device.trigger === "edge" ? EDGE_RISING : LEVEL_HIGH);

const messageFrame = ({ windows }: BoardDevice): FdtNode =>
  node(`v2m@${hex(windows[0]!.base)}`, {
    "compatible": "arm,gic-v2m-frame",
    "msi-controller": flag(),
    "reg": reg(windows),
    "phandle": PHANDLE.v2m,
  });

/** The nodes that describe one device. */
function deviceNodes(device: BoardDevice, board: Board): FdtNode[] {
  const unit = hex(device.windows[0]!.base);
  switch (device.kind) {
    case "flash":
      return [node(`flash@${unit}`, { "compatible": "cfi-flash", "reg": reg(device.windows), "bank-width": 4 })];
    case "gic-v2":
    case "gic-v3": {
      const properties = device.kind === "gic-v2" ? { "compatible": "arm,cortex-a15-gic" } : {
        "compatible": "arm,gic-v3",
        "#redistributor-regions": 1,
      };
      const frames = board.devices.filter(({ kind }) => kind === "gic-v2m").map(messageFrame);
      return [node(`intc@${unit}`, {
        ...properties,
        "interrupt-controller": flag(),
        "#interrupt-cells": 3,
        "reg": reg(device.windows),
        "#address-cells": 2,
        "#size-cells": 2,
        "ranges": flag(),
        ...(board.hasEl2 ? { "interrupts": cells(TYPE_PPI, PPI.gicMaintenance, LEVEL_HIGH) } : {}),
        "phandle": PHANDLE.gic,
      }, frames)];
    }
    case "gic-v2m":
      // Described by its controller.
      return [];
    case "pl011":
      return [primeCell(device, "pl011", ["uartclk", "apb_pclk"])];
    case "pl031":
      return [primeCell(device, "pl031", ["apb_pclk"])];
    case "fw-cfg":
      return [
        node(`fw-cfg@${unit}`, {
          "compatible": "qemu,fw-cfg-mmio",
          "reg": reg(device.windows),
          "dma-coherent": flag(),
        }),
      ];
    case "pl061": {
      const gpio = primeCell(device, "pl061", ["apb_pclk"]);
      for (const [name, value] of [["#gpio-cells", cells(2)], ["gpio-controller", flag()]] as const) {
        gpio.properties.set(name, value);
      }
      gpio.properties.set("phandle", cells(PHANDLE.gpio));
      const button = node("poweroff", {
        "label": "GPIO Key Poweroff",
        "linux,code": KEY_POWER,
        "gpios": cells(PHANDLE.gpio, POWER_BUTTON_PIN, ACTIVE_HIGH),
      });
      return [gpio, node("gpio-keys", { "compatible": "gpio-keys" }, [button])];
    }
    case "virtio-mmio":
      return [node(`virtio_mmio@${unit}`, {
        "compatible": "virtio,mmio",
        "reg": reg(device.windows),
        "interrupts": interrupts(device),
        "dma-coherent": flag(),
      })];
  }
}

function cpuNodes(board: Board): FdtNode {
  const cpus = board.cpus.map(({ index, mpidr }) =>
    node(`cpu@${hex(index)}`, {
      "device_type": "cpu",
      "compatible": board.cpuCompatible,
      ...(board.cpus.length > 1 ? { "enable-method": "psci" } : {}),
      "reg": mpidr,
      "phandle": PHANDLE.cpu + index,
    })
  );
  const cores = board.cpus.map(({ index }) => node(`core${index}`, { "cpu": PHANDLE.cpu + index }));
  const map = node("cpu-map", {}, [node("socket0", {}, [node("cluster0", {}, cores)])]);
  return node("cpus", { "#address-cells": 1, "#size-cells": 0 }, [...cpus, map]);
}

/** The PSCI node. The function numbers are those of PSCI 0.1's binding, which old kernels read. */
const psciNode = (conduit: Board["psciConduit"]): FdtNode =>
  node("psci", {
    "compatible": strings("arm,psci-1.0", "arm,psci-0.2", "arm,psci"),
    "method": conduit,
    "cpu_suspend": 0xc400_0001,
    "cpu_off": 0x8400_0002,
    "cpu_on": 0xc400_0003,
    "migrate": 0xc400_0005,
  });

/** The generic timer's interrupts in the order of its binding; the last one only where there is such a timer. */
function timerNode(board: Board): FdtNode {
  const timers: number[] = [PPI.secureTimer, PPI.physicalTimer, PPI.virtualTimer, PPI.hypervisorTimer];
  if (board.hasVhe) timers.push(PPI.hypervisorVirtualTimer);
  // The GICv2 binding has the CPUs that see the interrupt in bits 15:8.
  const cpuMask = board.devices.some(({ kind }) => kind === "gic-v2") ? 2 ** board.cpus.length - 1 : 0;
  const flags = (cpuMask << 8) | LEVEL_HIGH;
  return node("timer", {
    "compatible": strings("arm,armv8-timer", "arm,armv7-timer"),
    "always-on": flag(),
    "interrupts": cells(...timers.flatMap((ppi) => [TYPE_PPI, ppi, flags])),
  });
}

/** The tree of `board` without what a boot adds. */
export function boardTree(board: Board): DeviceTree {
  const uart = board.devices.find((d) => d.kind === "pl011");
  const chosen = node("chosen", uart === undefined ? {} : { "stdout-path": `/pl011@${hex(uart.windows[0]!.base)}` });
  const clock = node("apb-pclk", {
    "compatible": "fixed-clock",
    "#clock-cells": 0,
    "clock-frequency": APB_CLOCK_HZ,
    "clock-output-names": "clk24mhz",
    "phandle": PHANDLE.clock,
  });
  const root = node("", {
    "compatible": "linux,dummy-virt",
    "model": "linux,dummy-virt",
    "#address-cells": 2,
    "#size-cells": 2,
    "interrupt-parent": PHANDLE.gic,
  }, [
    chosen,
    clock,
    timerNode(board),
    cpuNodes(board),
    ...board.devices.flatMap((device) => deviceNodes(device, board)),
  ]);
  return { root, reservations: [], bootCpu: 0 };
}

function ensureChild(parent: FdtNode, name: string): FdtNode {
  const known = child(parent, name);
  if (known !== undefined) return known;
  const added = node(name, {});
  parent.children.push(added);
  return added;
}

/** Adds memory and PSCI to a tree, as QEMU does to its own and to a user's. `what` names the tree in errors. */
export function addMachine(tree: DeviceTree, board: Board, what: string): void {
  const { root } = tree;
  const count = (name: string, otherwise: number) => {
    const property = root.properties.get(name),
      value = property === undefined ? otherwise : readCells(property)[0] ?? 0;
    if (value < 1 || value > 2) throw new HostError(`cannot use ${what}: ${name} of its root is ${value}, not 1 or 2`);
    return value;
  };
  const number = (value: number, size: number) => size === 1 ? [value] : wide(value);
  const place = cells(
    ...number(board.ram.base, count("#address-cells", 2)),
    ...number(board.ram.size, count("#size-cells", 1)),
  );
  const others = root.children.filter((c) => c.name !== "memory" && !c.name.startsWith("memory@"));
  root.children.splice(
    0,
    root.children.length,
    ...others,
    node(`memory@${hex(board.ram.base)}`, { "device_type": "memory", "reg": place }),
  );
  // A tree that says how PSCI is reached is believed.
  if (child(root, "psci") === undefined) root.children.push(psciNode(board.psciConduit));
}

/** Adds what a boot brings. Fresh seeds go into the board's own tree, and replace those in a user's. */
export function addBoot(tree: DeviceTree, boot: BootInformation, random: RandomBytes, ownTree: boolean): void {
  const chosen = ensureChild(tree.root, "chosen"), { properties } = chosen;
  // As QEMU's guest-loader announces them, which is how Xen finds its first domain.
  for (const { address, size, role, bootargs } of boot.modules ?? []) {
    properties.set("#address-cells", cells(2)).set("#size-cells", cells(2));
    chosen.children.push(node(`module@${hex(address)}`, {
      "compatible": strings("multiboot,module", `multiboot,${role}`),
      "reg": cells(...wide(address), ...wide(size)),
      ...(bootargs === null ? {} : { "bootargs": strings(bootargs) }),
    }));
  }
  if (boot.bootargs !== null && boot.bootargs !== "") properties.set("bootargs", strings(boot.bootargs));
  if (boot.initrd !== null) {
    properties.set("linux,initrd-start", cells(boot.initrd.start));
    properties.set("linux,initrd-end", cells(boot.initrd.end));
  }
  for (const [name, count] of [["kaslr-seed", KASLR_SEED_BYTES], ["rng-seed", RNG_SEED_BYTES]] as const) {
    if (ownTree || properties.has(name)) properties.set(name, random(count));
  }
}
