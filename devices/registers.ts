// Device registers as data: a device declares each of its 32-bit registers once (offset, name, bits, what reading and
// writing do); decoding, masking of reserved bits, narrow accesses and the reports of malformed ones follow from that.

import { assert } from "../src/base/errors.ts";
import { type Layout, layout } from "../src/base/bits.ts";

/** Tells the trace group `guest_errors` what the guest did wrong. */
export type GuestErrors = (message: string) => void;

export interface RegisterSpec<D> {
  readonly name: string;
  /** Byte offset in the region, a multiple of 4. */
  readonly at: number;
  /** The fields, as for `layout`. Reserved bits read as zero and are not passed to `write`. */
  readonly bits: string;
  /** Absent: write-only, reads as zero. */
  readonly read?: (device: D) => number;
  /** Absent: read-only, writes are ignored. */
  readonly write?: (device: D, value: number) => void;
}

interface Register<D> extends RegisterSpec<D> {
  readonly layout: Layout;
  readonly mask: number;
}

/** The identification registers at the end of every PrimeCell: eight bytes, one per word. */
export function primeCellIdentification<D>(bytes: readonly number[]): RegisterSpec<D>[] {
  assert(bytes.length === 8, "a PrimeCell has four peripheral and four cell identification bytes");
  return bytes.map((byte, i) => ({
    name: i < 4 ? `PeriphID${i}` : `PCellID${i - 4}`,
    at: 0xfe0 + i * 4,
    bits: "RES0:24 ID:8",
    read: () => byte,
  }));
}

/** Masks for accesses of 1, 2 and 4 bytes. */
const ACCESS_MASK: Readonly<Record<number, number>> = { 1: 0xff, 2: 0xffff, 4: 0xffffffff };

/** The registers of one kind of device. */
export class RegisterMap<D extends { readonly name: string; readonly guestErrors: GuestErrors }> {
  readonly registers: readonly Register<D>[];
  readonly #byWord: (Register<D> | undefined)[];

  constructor(sizeBytes: number, specs: readonly RegisterSpec<D>[]) {
    this.#byWord = new Array(sizeBytes / 4).fill(undefined);
    this.registers = specs.map((spec) => {
      const bits = layout(32, spec.bits);
      return { ...spec, layout: bits, mask: Number(~bits.res0 & 0xffffffffn) };
    });
    for (const register of this.registers) {
      const { name, at } = register;
      assert(at % 4 === 0 && at < sizeBytes, `register ${name} lies on a word of its region`);
      assert(this.#byWord[at / 4] === undefined, `register ${name} does not overlap another`);
      this.#byWord[at / 4] = register;
    }
  }

  /** Reads `bytes` (1, 2 or 4) at `offset`. A narrow access gives the low part; one off the word's start is malformed. */
  read(device: D, offset: number, bytes: number): number {
    const register = this.#find(device, offset, bytes, "read");
    if (register === undefined) return 0;
    if (register.read === undefined) {
      device.guestErrors(`${device.name}: read of write-only register ${register.name}`);
      return 0;
    }
    return (register.read(device) & register.mask & ACCESS_MASK[bytes]!) >>> 0;
  }

  /** Writes `value`. A narrow write is zero-extended to the register. */
  write(device: D, offset: number, bytes: number, value: number): void {
    const register = this.#find(device, offset, bytes, "write");
    if (register === undefined) return;
    if (register.write === undefined) {
      device.guestErrors(`${device.name}: write to read-only register ${register.name}`);
      return;
    }
    register.write(device, (value & register.mask & ACCESS_MASK[bytes]!) >>> 0);
  }

  #find(device: D, offset: number, bytes: number, action: string): Register<D> | undefined {
    const register = (offset & 3) === 0 ? this.#byWord[offset >>> 2] : undefined;
    if (register === undefined) {
      device.guestErrors(`${device.name}: ${action} of ${bytes} bytes at offset 0x${offset.toString(16)}: no register`);
    }
    return register;
  }
}
