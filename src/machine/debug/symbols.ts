// Which ELF file holds a context's symbols: `-symbols CONTEXT=FILE`, or for the hypervisor what `-kernel` loaded. A virtual
// machine of which nothing is known has an empty one: gdb reads the target's description for its first inferior only, and
// takes the architecture of the others from their files.

import { HostError, reason } from "../../base/errors.ts";
import type { SymbolFile } from "../config.ts";

export interface Symbols {
  /** The file's name without directories; null when there is none. */
  nameFor(context: number, vmid: number | null): string | null;
  bytesFor(context: number, vmid: number | null): Promise<Uint8Array | null> | null;
}

export const NO_SYMBOLS: Symbols = { nameFor: () => null, bytesFor: () => null };

const ELF_MAGIC = 0x464c_457f;
/** Whether a file begins as ELF files do. */
export const isElf = (bytes: Uint8Array): boolean =>
  bytes.length >= 64 && new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) === ELF_MAGIC;

/** An ELF file that says AArch64 and nothing else. */
function emptyElf(): Uint8Array {
  const bytes = new Uint8Array(64), view = new DataView(bytes.buffer);
  view.setUint32(0, ELF_MAGIC, true);
  // 64 bits, little-endian, version 1.
  bytes.set([2, 1, 1], 4);
  // ET_EXEC, EM_AARCH64, version 1, no tables, sizes of the header and of a section header.
  view.setUint16(16, 2, true);
  view.setUint16(18, 183, true);
  view.setUint32(20, 1, true);
  view.setUint16(52, 64, true);
  view.setUint16(58, 64, true);
  return bytes;
}

export class SymbolFiles implements Symbols {
  constructor(readonly files: readonly SymbolFile[]) {}

  #find(context: number, vmid: number | null): SymbolFile | undefined {
    return this.files.findLast((f) => f.context === context || (vmid !== null && f.vmid === vmid));
  }
  nameFor(context: number, vmid: number | null): string | null {
    return this.#find(context, vmid)?.file.replace(/^.*\//, "") ?? (vmid === null ? null : `vm${vmid}`);
  }
  bytesFor(context: number, vmid: number | null): Promise<Uint8Array | null> | null {
    const found = this.#find(context, vmid);
    if (found === undefined) return vmid === null ? null : Promise.resolve(emptyElf());
    return Deno.readFile(found.file).catch((error) => {
      throw new HostError(`cannot read ${found.file}: ${reason(error)}`);
    });
  }
}
