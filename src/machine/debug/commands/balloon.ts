// What the monitor says of the memory balloon, in the words of QEMU's monitor.

import { BALLOON_PAGE_BYTES, VirtioBalloon } from "../../../../devices/virtio/balloon.ts";
import type { Refusal } from "../../../../gdbstub/target.ts";
import type { DebugControl } from "../control.ts";
import { refuse } from "./row.ts";

/** QEMU's names of the statistics, by the device's. */
const WORDS: Readonly<Record<string, string>> = {
  "stat-swap-in": "mem_swapped_in",
  "stat-swap-out": "mem_swapped_out",
  "stat-major-faults": "major_page_faults",
  "stat-minor-faults": "minor_page_faults",
  "stat-free-memory": "free_mem",
  "stat-total-memory": "total_mem",
};

export const NO_BALLOON = "no balloon device has been activated: -device virtio-balloon-device";
export const toMebibytes = (bytes: number): number => Math.floor(bytes / 2 ** 20);

export function balloonText({ machine: { bus, devices } }: DebugControl): string | Refusal {
  const device = devices.virtio.map(({ device }) => device).find((each) => each instanceof VirtioBalloon);
  if (!(device instanceof VirtioBalloon)) return refuse(NO_BALLOON);
  const ramBytes = bus.ranges.reduce((sum, { size, writable }) => sum + (writable ? size : 0), 0);
  const actual = Math.max(0, ramBytes - device.actualPages * BALLOON_PAGE_BYTES);
  const stats = Object.entries(WORDS).flatMap(([stat, word]) => {
    const value = device.stats.get(stat);
    return value === undefined ? [] : [`${word}=${value}`];
  });
  return ["balloon:", `actual=${toMebibytes(actual)}`, ...stats].join(" ");
}
