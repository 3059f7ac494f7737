// QEMU's firmware configuration device, memory-mapped form, by QEMU's docs/specs/fw_cfg: numbered items and a directory of
// named files, read through a data register or by DMA. All items are read-only; writes end in a DMA error.

import { assert } from "../src/base/errors.ts";
import { struct, type View } from "../src/base/struct.ts";
import type { MmioRegion } from "../src/memory/bus.ts";
import type { GuestErrors } from "./registers.ts";

/** Guest memory as a device sees it; the physical bus. */
export interface DmaMemory {
  readBytes(pa: number, count: number): Uint8Array | undefined;
  writeBytes(pa: number, data: Uint8Array): boolean;
}

/** Keys of the items that are not files. */
export const FW_CFG_ITEM = {
  SIGNATURE: 0x00,
  ID: 0x01,
  NB_CPUS: 0x05,
  KERNEL_SIZE: 0x08,
  INITRD_SIZE: 0x0b,
  MAX_CPUS: 0x0f,
  KERNEL_DATA: 0x11,
  INITRD_DATA: 0x12,
  CMDLINE_SIZE: 0x14,
  CMDLINE_DATA: 0x15,
  FILE_DIR: 0x19,
} as const;
/** Key of the first file. */
const FILE_FIRST = 0x20;
const FILE_NAME_BYTES = 56, FILE_ENTRY_BYTES = 64;

/** Offsets of the registers. */
const DATA = 0, SELECTOR = 8, DMA = 16, SIZE = 24;
const DMA_CONTROL = { ERROR: 1, READ: 2, SKIP: 4, SELECT: 8, WRITE: 16 } as const;
/** Traditional interface and DMA. */
const ID_FEATURES = 0b11;
/** Bytes that one DMA step copies. */
const CHUNK_BYTES = 0x1_0000;

export const FW_CFG_STATE = struct("fwCfg", {
  /** Key of the selected item, and how many of its bytes were read. */
  selected: "u32",
  position: "u32",
  /** High word of the DMA address, until the low word starts the transfer. */
  dmaHigh: "u32",
});

/** A 32-bit item as the guest reads it. */
export const u32Item = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
/** A string item, with its final zero. */
export const stringItem = (text: string): Uint8Array => new TextEncoder().encode(text + "\0");

const swap32 = (v: number): number => ((v >>> 24) | ((v >>> 8) & 0xff00) | ((v << 8) & 0xff0000) | (v << 24)) >>> 0;

export interface FwCfgOptions {
  readonly base: number;
  readonly memory: ArrayBufferLike;
  /** Byte address of FW_CFG_STATE in `memory`. */
  readonly stateBase: number;
  readonly dma: DmaMemory;
  readonly cpuCount: number;
  /** Items by key, beyond those every machine has. */
  readonly items?: ReadonlyMap<number, Uint8Array>;
  /** Files by name. */
  readonly files?: ReadonlyMap<string, Uint8Array>;
  readonly guestErrors: GuestErrors;
}

export class FwCfg implements MmioRegion {
  readonly name = "fw_cfg";
  readonly base: number;
  readonly size = SIZE;
  readonly state: View<typeof FW_CFG_STATE.spec>;
  readonly #items: Map<number, Uint8Array>;
  readonly #dma: DmaMemory;
  readonly #guestErrors: GuestErrors;

  constructor(options: FwCfgOptions) {
    this.base = options.base;
    this.state = FW_CFG_STATE.at(options.memory, options.stateBase);
    this.#dma = options.dma;
    this.#guestErrors = options.guestErrors;
    const cpus = new Uint8Array(new Uint16Array([options.cpuCount]).buffer);
    const files = [...options.files ?? []];
    this.#items = new Map([
      [FW_CFG_ITEM.SIGNATURE, new TextEncoder().encode("QEMU")],
      [FW_CFG_ITEM.ID, u32Item(ID_FEATURES)],
      [FW_CFG_ITEM.NB_CPUS, cpus],
      [FW_CFG_ITEM.MAX_CPUS, cpus],
      [FW_CFG_ITEM.FILE_DIR, fileDirectory(files)],
      ...options.items ?? [],
      ...files.map(([, bytes], i): [number, Uint8Array] => [FILE_FIRST + i, bytes]),
    ]);
    this.reset();
  }

  reset(): void {
    this.state.bytes.fill(0);
  }

  read(offset: number, bytes: number): number {
    if (offset < SELECTOR) {
      // The data register gives the item's bytes in order, whatever the width.
      let value = 0;
      for (let i = 0; i < bytes; i++) value |= this.#next() << (8 * i);
      return value >>> 0;
    }
    if (offset >= DMA) {
      const signature = "QEMU CFG";
      let value = 0;
      for (let i = 0; i < bytes; i++) value |= signature.charCodeAt(offset - DMA + i) << (8 * i);
      return value >>> 0;
    }
    this.#guestErrors(`fw_cfg: read of ${bytes} bytes at offset 0x${offset.toString(16)}: no register`);
    return 0;
  }

  write(offset: number, bytes: number, value: number): void {
    if (offset === SELECTOR && bytes === 2) this.#select(swap32(value) >>> 16);
    else if (offset === DMA && bytes === 4) this.state.dmaHigh = swap32(value);
    else if (offset === DMA + 4 && bytes === 4) {
      const address = this.state.dmaHigh * 2 ** 32 + swap32(value);
      this.state.dmaHigh = 0;
      this.#transfer(address);
    } else if (offset >= DATA && offset < SELECTOR) {
      this.#guestErrors("fw_cfg: write to the data register ignored: items are read-only");
    } else this.#guestErrors(`fw_cfg: write of ${bytes} bytes at offset 0x${offset.toString(16)}: no register`);
  }

  #select(key: number): void {
    this.state.selected = key;
    this.state.position = 0;
  }

  #next(): number {
    const item = this.#items.get(this.state.selected);
    return item !== undefined && this.state.position < item.length ? item[this.state.position++]! : 0;
  }

  /** Executes the request structure (big-endian control, length, address) at `request` and stores its result. */
  #transfer(request: number): void {
    const header = Number.isSafeInteger(request) ? this.#dma.readBytes(request, 16) : undefined;
    if (header === undefined) {
      this.#guestErrors(`fw_cfg: DMA request at 0x${request.toString(16)} is not in RAM`);
      return;
    }
    const view = new DataView(header.buffer, header.byteOffset, 16);
    const control = view.getUint32(0), length = view.getUint32(4), address = Number(view.getBigUint64(8));
    if ((control & DMA_CONTROL.SELECT) !== 0) this.#select(control >>> 16);
    let error = false;
    if ((control & DMA_CONTROL.READ) !== 0) error = !this.#copy(address, length);
    else if ((control & DMA_CONTROL.WRITE) !== 0) error = true;
    else if ((control & DMA_CONTROL.SKIP) !== 0) this.#skip(length);
    if (error) this.#guestErrors(`fw_cfg: DMA of ${length} bytes at 0x${address.toString(16)} failed`);
    const result = new Uint8Array(4);
    new DataView(result.buffer).setUint32(0, error ? DMA_CONTROL.ERROR : 0);
    this.#dma.writeBytes(request, result);
  }

  /** Past the end of an item there are zeros. Ends at the first byte that is not RAM, so the guest's RAM is the bound. */
  #copy(address: number, length: number): boolean {
    const item = this.#items.get(this.state.selected);
    for (let done = 0; done < length;) {
      const count = Math.min(length - done, CHUNK_BYTES), chunk = new Uint8Array(count);
      const part = item?.subarray(this.state.position, this.state.position + count);
      if (part !== undefined) chunk.set(part);
      if (!this.#dma.writeBytes(address + done, chunk)) return false;
      this.#skip(count);
      done += count;
    }
    return true;
  }

  #skip(count: number): void {
    const length = this.#items.get(this.state.selected)?.length ?? 0;
    this.state.position = Math.min(this.state.position + count, length);
  }
}

function fileDirectory(files: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const directory = new Uint8Array(4 + files.length * FILE_ENTRY_BYTES), view = new DataView(directory.buffer);
  view.setUint32(0, files.length);
  files.forEach(([name, bytes], i) => {
    const at = 4 + i * FILE_ENTRY_BYTES, text = new TextEncoder().encode(name);
    assert(text.length < FILE_NAME_BYTES, `the fw_cfg file name ${name} fits its entry`);
    view.setUint32(at, bytes.length);
    view.setUint16(at + 4, FILE_FIRST + i);
    directory.set(text, at + 8);
  });
  return directory;
}
