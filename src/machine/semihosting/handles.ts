// What a semihosting handle can stand for, apart from a file (files.ts) and the console (console.ts): the file that tells
// of features, and a file of the debugger's host.

import type { CallMemory } from "./memory.ts";
import { at, ERROR, type Progress, resultOf } from "./progress.ts";

/** Results are counts of bytes, or positions; or a negative error. */
export interface Handle {
  read(memory: CallMemory, address: bigint, count: number): Progress<number>;
  write(memory: CallMemory, address: bigint, count: number): Progress<number>;
  /** To an offset from the start. */
  seek(offset: number): Progress<number>;
  /** `scratch`: 64 bytes of the guest's memory that may be used. */
  length(memory: CallMemory, scratch: bigint): Progress<number>;
  /** 1 for a terminal. */
  isTerminal(): Progress<number>;
  close(): Progress<number>;
}

/** "SHFB", then the bits: SH_EXT_EXIT_EXTENDED, SH_EXT_STDOUT_STDERR. */
const FEATURES = Uint8Array.of(0x53, 0x48, 0x46, 0x42, 3);

/** `:semihosting-features` */
export class FeaturesHandle implements Handle {
  #at = 0;
  read(memory: CallMemory, address: bigint, count: number): Progress<number> {
    const bytes = FEATURES.subarray(this.#at, this.#at + count), done = memory.write(address, bytes);
    if (done < bytes.length) return at(-ERROR.EFAULT);
    this.#at += done;
    return at(done);
  }
  write(): Progress<number> {
    return at(-ERROR.EBADF);
  }
  seek(offset: number): Progress<number> {
    this.#at = Math.min(offset, FEATURES.length);
    return at(0);
  }
  length(): Progress<number> {
    return at(FEATURES.length);
  }
  isTerminal(): Progress<number> {
    return at(0);
  }
  close(): Progress<number> {
    return at(0);
  }
}

/** gdb's `struct stat`, "Struct stat": 64 bytes, big-endian. */
const STAT = { BYTES: 64, SIZE: 28 } as const;

/** A descriptor of the debugger's host, which reads and writes the guest's memory by itself. */
export class DebuggerHandle implements Handle {
  constructor(readonly descriptor: number) {}

  *read(_: CallMemory, address: bigint, count: number): Progress<number> {
    return resultOf(yield { call: "read", args: [BigInt(this.descriptor), address, BigInt(count)] });
  }
  *write(_: CallMemory, address: bigint, count: number): Progress<number> {
    return resultOf(yield { call: "write", args: [BigInt(this.descriptor), address, BigInt(count)] });
  }
  *seek(offset: number): Progress<number> {
    return resultOf(yield { call: "lseek", args: [BigInt(this.descriptor), BigInt(offset), 0n] });
  }
  *length(memory: CallMemory, scratch: bigint): Progress<number> {
    const before = memory.read(scratch, STAT.BYTES);
    if (before.length < STAT.BYTES) return -ERROR.EFAULT;
    const result = resultOf(yield { call: "fstat", args: [BigInt(this.descriptor), scratch] });
    const stat = memory.read(scratch, STAT.BYTES);
    memory.write(scratch, before);
    return result < 0 ? result : Number(new DataView(stat.buffer).getBigUint64(STAT.SIZE));
  }
  *isTerminal(): Progress<number> {
    return resultOf(yield { call: "isatty", args: [BigInt(this.descriptor)] });
  }
  *close(): Progress<number> {
    // The debugger's own streams stay open.
    return this.descriptor <= 2 ? 0 : resultOf(yield { call: "close", args: [BigInt(this.descriptor)] });
  }
}
