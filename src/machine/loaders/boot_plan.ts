// From the files that a user named to what lies where at reset: kernel, initial RAM disk, firmware, `-device loader` data,
// the device tree, the first instruction. Placement is QEMU's (hw/arm/boot.c), so that addresses in logs are the same.
// An arm64 Image or raw kernel gets the Linux boot protocol, the tree's address in X0. An ELF kernel is a bare program:
// X0 is 0 and the tree lies at the start of RAM if that is free, both as with QEMU.

import { HostError } from "../../base/errors.ts";
import { FW_CFG_ITEM, stringItem, u32Item } from "../../../devices/fw_cfg.ts";
import { PAGE_BYTES } from "../../memory/host_map.ts";
import type { Board } from "../board.ts";
import type { MachineConfig, MachineImages } from "../config.ts";
import {
  addBoot,
  addMachine,
  boardTree,
  type BootInformation,
  type BootModule,
  type RandomBytes,
} from "../device_tree.ts";
import { parseFdt, writeFdt } from "../fdt.ts";
import { MEMORY_MAP } from "../memory_map.ts";
import { loadKernelImage, unpackKernel } from "./arm64_image.ts";
import { isElf, loadElf } from "./elf.ts";
import { checkLoads, type Load, overlaps } from "./load.ts";

const MiB = 2 ** 20;
/** The initial RAM disk goes here, or halfway into RAM if that is less: beyond where a kernel unpacks itself. */
const INITRD_OFFSET = 128 * MiB;
/** Linux maps the tree with blocks of this size. */
const DTB_ALIGN = 2 * MiB;

export interface BootPlan {
  /** To be copied at start and at each reset; checked to lie in RAM or flash 0 and not to overlap. */
  readonly loads: readonly Load[];
  /** Where CPU 0 starts. */
  readonly entry: number;
  /** X0 of CPU 0; X1 to X3 are 0. */
  readonly x0: number;
  /** Start addresses by CPU number from `-device loader,cpu-num=`; that of CPU 0 is also `entry`. */
  readonly entries: ReadonlyMap<number, number>;
  /** Bytes of flash 0 to map as ROM, a multiple of 4 KiB. */
  readonly firmwareBytes: number;
  /** Items for fw_cfg: what firmware is to boot. */
  readonly fwCfgItems: ReadonlyMap<number, Uint8Array>;
  /** The device tree as the guest sees it (`-machine dumpdtb=`). */
  readonly deviceTree: Uint8Array<ArrayBuffer>;
}

type PlanConfig = Pick<MachineConfig, "kernel" | "initrd" | "append" | "dtb" | "bios" | "loaders">;

interface Kernel {
  readonly loads: readonly Load[];
  readonly entry: number;
  readonly isLinux: boolean;
}

const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to;
const endOf = (load: Load): number => load.address + load.memoryBytes;
const plain = (name: string, address: number, bytes: Uint8Array, memoryBytes = bytes.length): Load => ({
  name,
  address,
  bytes,
  memoryBytes,
  clear: false,
});

function loadKernel(file: Uint8Array, what: string, board: Board): Kernel {
  if (isElf(file)) return { ...loadElf(file, what), isLinux: false };
  const image = loadKernelImage(unpackKernel(file, board.ram.size, what), what);
  const address = board.ram.base + image.offset;
  return { loads: [plain(what, address, image.bytes, image.memoryBytes)], entry: address, isLinux: true };
}

/** The built-in demo: ELF images; the first has the entry point. */
function loadDemo(images: readonly Uint8Array[]): Kernel {
  const elves = images.map((bytes, i) => loadElf(bytes, `demo image ${i}`));
  return { loads: elves.flatMap((elf) => elf.loads), entry: elves[0]!.entry, isLinux: false };
}

/** `-device loader,…`: loads, and where CPUs start. */
function genericLoads(config: PlanConfig, images: MachineImages, cpuCount: number) {
  const loads: Load[] = [], entries = new Map<number, number>(), modules: BootModule[] = [];
  const start = (cpu: number | null, address: number) => {
    if (cpu === null) return;
    if (cpu >= cpuCount) throw new HostError(`cannot start CPU ${cpu} by -device loader: the machine has ${cpuCount}`);
    entries.set(cpu, address);
  };
  config.loaders.forEach((loader, i) => {
    if (loader.kind === "start") start(loader.cpu, loader.address);
    else if (loader.kind === "data") {
      loads.push(plain("-device loader data", loader.address, Uint8Array.from(loader.bytes)));
    } else {
      const bytes = images.loaders[i], what = `loader file ${loader.file}`;
      if (bytes === null || bytes === undefined) throw new HostError(`cannot load ${what}: it was not read`);
      if (loader.kind === "guest") {
        const { address, role, bootargs } = loader;
        loads.push(plain(what, address, bytes));
        modules.push({ address, size: bytes.length, role, bootargs });
      } else if (!loader.raw && isElf(bytes)) {
        const elf = loadElf(bytes, what);
        loads.push(...elf.loads);
        start(loader.cpu, elf.entry);
      } else {
        if (loader.address === null) throw new HostError(`cannot load ${what}: it is not an ELF file and needs addr=`);
        loads.push(plain(what, loader.address, bytes));
        start(loader.cpu, loader.address);
      }
    }
  });
  return { loads, entries, modules };
}

/** What firmware finds in fw_cfg when it is to boot a kernel. */
function firmwareItems(config: PlanConfig, images: MachineImages): ReadonlyMap<number, Uint8Array> {
  const items = new Map<number, Uint8Array>();
  const { kernel, initrd } = images;
  if (images.bios === null || kernel === null) return items;
  items.set(FW_CFG_ITEM.KERNEL_SIZE, u32Item(kernel.length)).set(FW_CFG_ITEM.KERNEL_DATA, kernel);
  if (initrd !== null) items.set(FW_CFG_ITEM.INITRD_SIZE, u32Item(initrd.length)).set(FW_CFG_ITEM.INITRD_DATA, initrd);
  if (config.append !== null) {
    const line = stringItem(config.append);
    items.set(FW_CFG_ITEM.CMDLINE_SIZE, u32Item(line.length)).set(FW_CFG_ITEM.CMDLINE_DATA, line);
  }
  return items;
}

/** The device tree with everything in it: the board's own, or the user's completed. */
function makeTree(
  config: PlanConfig,
  images: MachineImages,
  board: Board,
  boot: BootInformation,
  random: RandomBytes,
): Uint8Array<ArrayBuffer> {
  const what = `device tree ${config.dtb}`;
  const tree = images.dtb === null ? boardTree(board) : parseFdt(images.dtb, what);
  addMachine(tree, board, what);
  addBoot(tree, boot, random, images.dtb === null);
  return writeFdt(tree);
}

/** Places everything. What cannot be loaded is a HostError. */
export function planBoot(config: PlanConfig, images: MachineImages, board: Board, random: RandomBytes): BootPlan {
  const { ram } = board;
  const flash = MEMORY_MAP.flash0;
  const targets = [{ name: "RAM", ...ram }, { name: "flash", ...flash }];
  const { loads: extra, entries, modules } = genericLoads(config, images, board.cpus.length);
  const loads: Load[] = [];
  let kernel: Kernel | undefined, initrd: Load | undefined;

  if (images.bios !== null) {
    const what = `firmware ${config.bios}`;
    if (images.bios.length > flash.size) {
      throw new HostError(`cannot load ${what}: its ${images.bios.length} bytes exceed the flash's ${flash.size}`);
    }
    loads.push(plain(what, flash.base, images.bios));
  } else {
    if (images.kernel !== null) kernel = loadKernel(images.kernel, `kernel ${config.kernel}`, board);
    else if (images.demo.length > 0) kernel = loadDemo(images.demo);
    if (kernel !== undefined) {
      loads.push(...kernel.loads);
      checkLoads(loads, targets);
    }
    if (images.initrd !== null) {
      const inRam = (kernel?.loads ?? []).filter((load) => load.address >= ram.base);
      const free = Math.max(ram.base + Math.min(ram.size / 2, INITRD_OFFSET), ...inRam.map(endOf));
      initrd = plain(`initrd ${config.initrd}`, alignUp(free, PAGE_BYTES), images.initrd);
      loads.push(initrd);
    }
  }
  loads.push(...extra);
  checkLoads(loads, targets);

  const deviceTree = makeTree(config, images, board, {
    bootargs: config.append,
    initrd: initrd === undefined ? null : { start: initrd.address, end: endOf(initrd) },
    modules,
  }, random);
  const dtb = placeTree(deviceTree, config, board, loads, kernel, initrd);
  if (dtb !== undefined) loads.push(dtb);
  const flashEnd = Math.max(0, ...loads.filter((l) => l.address < flash.base + flash.size).map(endOf));
  return {
    loads: loads.filter((load) => load.memoryBytes > 0),
    entry: entries.get(0) ?? kernel?.entry ?? flash.base,
    x0: kernel?.isLinux === true && !entries.has(0) ? dtb!.address : 0,
    entries,
    firmwareBytes: alignUp(flashEnd, PAGE_BYTES),
    fwCfgItems: firmwareItems(config, images),
    deviceTree,
  };
}

/**
 * Where the tree goes. For Linux behind the initial RAM disk, else wherever there is room. For firmware and bare programs
 * at the start of RAM; if something else is there, a generated tree is left out, while a tree that the user gave conflicts.
 */
function placeTree(
  bytes: Uint8Array,
  config: PlanConfig,
  { ram }: Board,
  loads: readonly Load[],
  kernel: Kernel | undefined,
  initrd: Load | undefined,
): Load | undefined {
  const name = config.dtb === null ? "the device tree" : `device tree ${config.dtb}`;
  const candidates = [ram.base];
  if (kernel?.isLinux === true) {
    const behind = initrd === undefined
      ? Math.max(ram.base + Math.min(ram.size / 2, INITRD_OFFSET), ...kernel.loads.map(endOf))
      : endOf(initrd);
    candidates.unshift(alignUp(behind, DTB_ALIGN));
    candidates.push(...loads.filter((l) => l.address >= ram.base).map((l) => alignUp(endOf(l), DTB_ALIGN)));
  }
  const end = ram.base + ram.size;
  for (const address of candidates) {
    const load = plain(name, address, bytes);
    if (endOf(load) <= end && !loads.some((other) => overlaps(load, other))) return load;
  }
  if (kernel?.isLinux === true) {
    throw new HostError(`cannot load ${name}: its ${bytes.length} bytes find no room in RAM`);
  }
  if (config.dtb !== null) checkLoads([...loads, plain(name, ram.base, bytes)], [{ name: "RAM", ...ram }]);
  return undefined;
}
