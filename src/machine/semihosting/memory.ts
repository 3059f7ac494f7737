// Guest memory as a semihosting call sees it: through the translation of the vCPU that calls, with the permissions it has
// (PAN aside, as for cache maintenance). Devices are no memory. What is not there makes the answer shorter.

import type { PhysicalBus } from "../../memory/bus.ts";
import { PAGE_BYTES } from "../../memory/host_map.ts";
import type { Mmu } from "../../mmu/access.ts";
import { ACCESS } from "../../mmu/fault.ts";
import { WALK } from "../../mmu/walk.ts";

const half = (address: bigint, shift: bigint): number => Number((address >> shift) & 0xffff_ffffn) | 0;

export class CallMemory {
  constructor(readonly mmu: Mmu, readonly bus: PhysicalBus) {}

  /** The physical address, and how many bytes follow in its page; undefined where an access would fault. */
  #find(address: bigint, write: boolean): { readonly pa: number; readonly bytes: number } | undefined {
    const { walker, contexts } = this.mmu, controls = contexts.controls(contexts.current(false) >>> 2);
    const kind = write ? ACCESS.WRITE : ACCESS.READ, how = WALK.UPDATE | WALK.IGNORE_PAN;
    if (!walker.translate(controls, half(address, 0n), half(address, 32n), kind, how)) return undefined;
    const { pa } = walker;
    if (write ? !this.bus.isWritablePage(pa) : this.bus.hostPage(pa) === 0) return undefined;
    return { pa, bytes: PAGE_BYTES - pa % PAGE_BYTES };
  }

  /** Up to `count` bytes. */
  read(address: bigint, count: number): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const found = this.#find(BigInt.asUintN(64, address + BigInt(at)), false);
      const piece = found && this.bus.readBytes(found.pa, Math.min(found.bytes, count - at));
      if (piece === undefined) break;
      out.set(piece, at);
      at += piece.length;
    }
    return out.subarray(0, at);
  }

  /** How many of the bytes could be written. */
  write(address: bigint, data: Uint8Array): number {
    let at = 0;
    while (at < data.length) {
      const found = this.#find(BigInt.asUintN(64, address + BigInt(at)), true);
      if (found === undefined) break;
      const count = Math.min(found.bytes, data.length - at);
      if (!this.bus.writeBytes(found.pa, data.subarray(at, at + count))) break;
      at += count;
    }
    return at;
  }

  word(address: bigint): bigint | undefined {
    const bytes = this.read(address, 8);
    return bytes.length < 8 ? undefined : new DataView(bytes.buffer).getBigUint64(0, true);
  }
  words(address: bigint, values: readonly bigint[]): boolean {
    return this.write(address, new Uint8Array(BigUint64Array.from(values).buffer)) === 8 * values.length;
  }
}
