// The few functions of the host's C library that Deno does not offer, for pseudo-terminals on Linux. Where it has no
// foreign function interface, or the library cannot be loaded, opening says so.

import { HostError, reason } from "../../src/base/errors.ts";

const SYMBOLS = {
  posix_openpt: { parameters: ["i32"], result: "i32" },
  grantpt: { parameters: ["i32"], result: "i32" },
  unlockpt: { parameters: ["i32"], result: "i32" },
  ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  tcgetattr: { parameters: ["i32", "buffer"], result: "i32" },
  cfmakeraw: { parameters: ["buffer"], result: "void" },
  tcsetattr: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  tcflush: { parameters: ["i32", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  pollAside: { name: "poll", parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
} as const;

type Library = Deno.DynamicLibrary<typeof SYMBOLS>;
export type Libc = Library["symbols"];

/** Constants of Linux, the same on every architecture that Deno knows. */
export const OPEN = { RDWR: 2, NOCTTY: 0o400, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;
export const TCIFLUSH = 0;
export const POLL = { IN: 1, OUT: 4, HUP: 0x10 } as const;

/** Names of the library: GNU's, then musl's. */
const NAMES = ["libc.so.6", "libc.so"];

/** Loads the library, or throws a HostError that begins with `action`. */
export const loadLibc = (action: string): Library => loadSymbols(action, SYMBOLS);

/** The same with other functions of the library. */
export function loadSymbols<const S extends Deno.ForeignLibraryInterface>(
  action: string,
  symbols: S,
): Deno.DynamicLibrary<S> {
  if (Deno.build.os !== "linux") throw new HostError(`${action}: only on Linux`);
  let last: unknown;
  for (const name of NAMES) {
    try {
      return Deno.dlopen(name, symbols);
    } catch (error) {
      last = error;
    }
  }
  throw new HostError(`${action}: Deno cannot call the C library: ${reason(last)}`);
}
