// Where the debugger server listens: what follows `-gdb`.

import { UsageError } from "../src/base/errors.ts";

export type GdbAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** How help shows it. */
export const GDB_ADDRESS_FORM = "tcp:[HOST]:PORT|unix:PATH";
/** `-s`. */
export const DEFAULT_GDB_ADDRESS: GdbAddress = { kind: "tcp", host: "127.0.0.1", port: 1234 };

/** Reads `tcp:[HOST]:PORT` (options that QEMU takes after it are accepted where they say what is so anyway) or `unix:PATH`. */
export function parseGdbAddress(text: string): GdbAddress {
  const [spec = "", ...options] = text.split(",");
  for (const option of options) {
    if (!/^(server(=(on|yes))?|wait=(off|no)|nowait|nodelay(=(on|yes))?)$/.test(option)) {
      throw new UsageError(`"${option}" is not known: a debugger server takes no options`);
    }
  }
  const unix = /^unix:(.+)$/.exec(spec);
  if (unix) return { kind: "unix", path: unix[1]! };
  const tcp = /^tcp:(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(spec);
  const port = Number(tcp?.[3] ?? -1);
  if (!tcp || port < 0 || port > 65535) throw new UsageError(`"${text}" is not ${GDB_ADDRESS_FORM}`);
  return { kind: "tcp", host: (tcp[1] ?? tcp[2]) || "127.0.0.1", port };
}

export function gdbAddressText(address: GdbAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `tcp:${host}:${address.port}`;
}
