// Devices, as rows.

import { hex } from "../../../base/trace.ts";
import type { DebugControl } from "../control.ts";

export const DEVICE_COLUMNS = ["Device", "Address", "Size"];
export function deviceRows({ machine: { bus } }: DebugControl): string[][] {
  return bus.regions.map(({ name, base, size }) => [name, hex(base), hex(size)]);
}
