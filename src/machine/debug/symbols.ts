// Which ELF file holds a context's symbols: `-symbols CONTEXT=FILE`, or for the hypervisor what `-kernel` loaded.

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

export class SymbolFiles implements Symbols {
  constructor(readonly files: readonly SymbolFile[]) {}

  #find(context: number, vmid: number | null): SymbolFile | undefined {
    return this.files.findLast((f) => f.context === context || (vmid !== null && f.vmid === vmid));
  }
  nameFor(context: number, vmid: number | null): string | null {
    return this.#find(context, vmid)?.file.replace(/^.*\//, "") ?? null;
  }
  bytesFor(context: number, vmid: number | null): Promise<Uint8Array | null> | null {
    const found = this.#find(context, vmid);
    return found === undefined ? null : Deno.readFile(found.file).catch((error) => {
      throw new HostError(`cannot read ${found.file}: ${reason(error)}`);
    });
  }
}
