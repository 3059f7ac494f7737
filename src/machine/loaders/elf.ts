// ELF executables for AArch64, by the System V ABI "Object Files" and its AArch64 supplement: PT_LOAD segments go to their
// physical addresses. Left out: relocation (a position-independent file goes where its headers say), symbols.

import { HostError } from "../../base/errors.ts";
import type { Load } from "./load.ts";

export interface ElfImage {
  readonly loads: readonly Load[];
  /** Physical address of the entry point. */
  readonly entry: number;
}

const HEADER_BYTES = 64, PROGRAM_HEADER_BYTES = 56;
const CLASS_64 = 2, DATA_LITTLE = 1, TYPE_EXEC = 2, TYPE_DYN = 3, MACHINE_AARCH64 = 183, PT_LOAD = 1;

const MACHINES: Readonly<Record<number, string>> = {
  2: "SPARC",
  3: "x86",
  8: "MIPS",
  20: "PowerPC",
  21: "PowerPC 64",
  22: "S390",
  40: "32-bit Arm",
  62: "x86-64",
  243: "RISC-V",
  258: "LoongArch",
};
const TYPES: Readonly<Record<number, string>> = { 0: "nothing", 1: "a relocatable object", 4: "a core dump" };

export const isElf = (bytes: Uint8Array): boolean =>
  bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;

/** Reads an ELF file; `what` names it in messages (`kernel a.elf`). What is wrong with it is a HostError. */
export function loadElf(bytes: Uint8Array, what: string): ElfImage {
  const fail = (state: string): never => {
    throw new HostError(`cannot load ${what}: ${state}`);
  };
  if (!isElf(bytes)) fail("it is not an ELF file");
  if (bytes.length < HEADER_BYTES) fail(`it is truncated: ${bytes.length} bytes do not hold an ELF header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u64 = (at: number, meaning: string): number => {
    const value = view.getBigUint64(at, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      fail(`${meaning} is 0x${value.toString(16)}, beyond the address space`);
    }
    return Number(value);
  };
  if (bytes[5] !== DATA_LITTLE) fail("it is a big-endian ELF file, not a little-endian one");
  const type = view.getUint16(16, true), machine = view.getUint16(18, true);
  if (machine !== MACHINE_AARCH64) {
    fail(`it is an ELF file for ${MACHINES[machine] ?? `machine ${machine}`}, not AArch64`);
  }
  if (bytes[4] !== CLASS_64) fail("it is a 32-bit ELF file, not a 64-bit one");
  if (type !== TYPE_EXEC && type !== TYPE_DYN) {
    fail(`it is ${TYPES[type] ?? `an ELF file of type ${type}`}, not an executable`);
  }
  const headersAt = u64(32, "the program headers' offset"), entrySize = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (count === 0) fail("it has no program headers");
  if (entrySize < PROGRAM_HEADER_BYTES) {
    fail(`its program headers have ${entrySize} bytes, not ${PROGRAM_HEADER_BYTES}`);
  }
  if (headersAt + count * entrySize > bytes.length) fail("it is truncated: its program headers lie behind its end");

  const entryAddress = view.getBigUint64(24, true);
  let entry: bigint = entryAddress;
  const loads: Load[] = [];
  for (let i = 0; i < count; i++) {
    const at = headersAt + i * entrySize;
    if (view.getUint32(at, true) !== PT_LOAD) continue;
    const fileOffset = u64(at + 8, `segment ${i}'s file offset`), address = u64(at + 24, `segment ${i}'s address`);
    const fileBytes = u64(at + 32, `segment ${i}'s file size`), memoryBytes = u64(at + 40, `segment ${i}'s size`);
    if (memoryBytes === 0) continue;
    if (fileBytes > memoryBytes) fail(`segment ${i} has more bytes in the file than in memory`);
    if (fileOffset + fileBytes > bytes.length) fail(`it is truncated: segment ${i} ends behind the file's end`);
    // An entry point is a virtual address; it is entered at its physical one.
    const virtual = view.getBigUint64(at + 16, true);
    if (entryAddress >= virtual && entryAddress - virtual < BigInt(memoryBytes)) {
      entry = entryAddress - virtual + BigInt(address);
    }
    loads.push({
      name: `segment ${i} of ${what}`,
      address,
      bytes: bytes.subarray(fileOffset, fileOffset + fileBytes),
      memoryBytes,
      clear: true,
    });
  }
  if (loads.length === 0) fail("it has nothing to load");
  if (entry > BigInt(Number.MAX_SAFE_INTEGER)) fail(`its entry 0x${entry.toString(16)} is in none of its segments`);
  return { loads, entry: Number(entry) };
}

/** The word at an address, virtual or else physical, in a file that `loadElf` accepts; undefined when it has none there. */
export function elfWordAt(bytes: Uint8Array, what: string, address: bigint): number | undefined {
  loadElf(bytes, what);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const first = Number(view.getBigUint64(32, true)),
    entrySize = view.getUint16(54, true),
    count = view.getUint16(56, true);
  for (const field of [16, 24]) {
    for (let at = first; at < first + count * entrySize; at += entrySize) {
      if (view.getUint32(at, true) !== PT_LOAD) continue;
      const distance = address - view.getBigUint64(at + field, true);
      if (distance < 0n || distance + 4n > view.getBigUint64(at + 32, true)) continue;
      return view.getUint32(Number(view.getBigUint64(at + 8, true) + distance), true);
    }
  }
  return undefined;
}
