// Gives pages of the machine's shared memory back to the host: they read as zero afterwards and take no memory until they are
// used again. Wasm has no such instruction, so that this is madvise of the C library on the memory's own addresses. Where
// that library cannot be called, nothing is given back.

import { HostError, reason } from "../../src/base/errors.ts";

const SYMBOLS = {
  madvise: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  getpagesize: { parameters: [], result: "i32" },
} as const;
const MADV_DONTNEED = 4;
/** Names of the library: GNU's, then musl's. */
const NAMES = ["libc.so.6", "libc.so"];

export type ReleasePages = (host: number, bytes: number) => void;

/** Opens the way to the host. Throws HostError when there is none. */
export function openPageRelease(memory: SharedArrayBuffer): ReleasePages {
  const { madvise, getpagesize } = load().symbols, pageBytes = getpagesize(), all = new Uint8Array(memory);
  return (host, bytes) => {
    // The host's pages may be larger than the guest's.
    const first = Math.ceil(host / pageBytes) * pageBytes, end = host + bytes - (host + bytes) % pageBytes;
    if (end > first) madvise(all.subarray(first, end) as unknown as BufferSource, BigInt(end - first), MADV_DONTNEED);
  };
}

function load(): Deno.DynamicLibrary<typeof SYMBOLS> {
  let last: unknown;
  for (const name of Deno.build.os === "linux" ? NAMES : []) {
    try {
      return Deno.dlopen(name, SYMBOLS);
    } catch (error) {
      last = error;
    }
  }
  const why = last === undefined ? "only on Linux" : `Deno cannot call the C library: ${reason(last)}`;
  throw new HostError(`cannot give the guest's pages back: ${why}`);
}
