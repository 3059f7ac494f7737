// Gives pages of the machine's shared memory back to the host: they read as zero afterwards and take no memory until they are
// used again. Wasm has no such instruction, so that this is madvise of the C library on the memory's own addresses. Where
// that library cannot be called, nothing is given back.

import { loadSymbols } from "./libc.ts";

const SYMBOLS = {
  madvise: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  getpagesize: { parameters: [], result: "i32" },
} as const;
const MADV_DONTNEED = 4;

export type ReleasePages = (host: number, bytes: number) => void;

/** Opens the way to the host. Throws HostError when there is none. */
export function openPageRelease(memory: SharedArrayBuffer): ReleasePages {
  const { madvise, getpagesize } = loadSymbols("cannot give the guest's pages back", SYMBOLS).symbols;
  const pageBytes = getpagesize(), all = new Uint8Array(memory);
  return (host, bytes) => {
    // The host's pages may be larger than the guest's.
    const first = Math.ceil(host / pageBytes) * pageBytes, end = host + bytes - (host + bytes) % pageBytes;
    // Deno gives shared memory's own address, though its types do not know that.
    if (end > first) madvise(all.subarray(first, end) as unknown as BufferSource, BigInt(end - first), MADV_DONTNEED);
  };
}
