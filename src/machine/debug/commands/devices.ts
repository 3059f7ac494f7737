// Devices, virtio transports and networks, as text and as rows: what devices/virtio/info.ts reads of shared memory.

import { hex } from "../../../base/trace.ts";
import { STATUS } from "../../../../devices/virtio/device.ts";
import { type VirtioInfo, virtioInfo, virtioInfoLines } from "../../../../devices/virtio/info.ts";
import { VirtioNet } from "../../../../devices/virtio/net.ts";
import type { Refusal } from "../../../../gdbstub/target.ts";
import type { DebugControl } from "../control.ts";
import { refuse, tabulate } from "./row.ts";

const stateText = ({ status, broken }: VirtioInfo): string => {
  const words = status.length === 0 ? "reset" : status.includes("DRIVER_OK") ? "in use" : status.join(" ");
  return broken === "" ? words : `needs reset: ${broken}`;
};
const queuesText = ({ queues }: VirtioInfo): string =>
  queues.filter(({ ready }) => ready).map((q) =>
    `${q.index}: taken ${q.taken} used ${q.used} in flight ${q.inFlight} last ${q.lastHead}`
  ).join("; ");
const countersText = ({ counters }: VirtioInfo): string =>
  Object.entries(counters).map(([name, count]) => `${name} ${count}`).join(", ");

export const DEVICE_COLUMNS = [
  ...["Device", "Address", "Size", "Kind", "State"],
  ...["Features", "Queues", "Counters"],
];
export function deviceRows({ machine: { bus, devices } }: DebugControl): string[][] {
  return bus.regions.map(({ name, base, size }) => {
    const where = [name, hex(base), hex(size)], transport = devices.virtio.find((each) => each.base === base);
    if (transport === undefined) return [...where, "", "", "", "", ""];
    const info = virtioInfo(transport), { device, negotiated } = info;
    return [...where, device, stateText(info), negotiated.join(" "), queuesText(info), countersText(info)];
  });
}

/** Where everything is; `info virtio` says more of what has queues. */
export function devicesText(control: DebugControl): string {
  return tabulate([DEVICE_COLUMNS, ...deviceRows(control)].map((row) => row.slice(0, 5)));
}

export function virtioText({ machine: { devices } }: DebugControl, args: string): string | Refusal {
  const found = devices.virtio.filter(({ name, device }) =>
    args === "" || name === args || name.endsWith(`.${args}`) || device.type.includes(args)
  );
  if (found.length > 0) return found.flatMap((transport) => virtioInfoLines(virtioInfo(transport))).join("\n");
  return args === "" ? "there are no virtio devices" : refuse(`no virtio device is called ${args}: info virtio`);
}

export const NETWORK_COLUMNS = [
  ...["Device", "MAC", "Link", "Driver"],
  ...["Frames out", "Bytes out", "Frames in", "Bytes in", "Dropped", "Filtered"],
];
export function networkRows({ machine: { devices } }: DebugControl): string[][] {
  return devices.virtio.flatMap(({ name, config, device, status }) => {
    if (!(device instanceof VirtioNet)) return [];
    const mac = [...config.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
    const { sentFrames, sentBytes, sentErrors, sentUnplugged, ...received } = device.counters;
    const { receivedFrames, receivedBytes, receivedDropped, receivedFiltered } = received;
    const driver = (status & STATUS.DRIVER_OK) !== 0 ? "yes" : "no", link = device.linkUp ? "up" : "down";
    const counts = [sentFrames, sentBytes, receivedFrames, receivedBytes];
    return [[
      ...[name, mac, link, driver],
      ...[...counts, receivedDropped + sentErrors + sentUnplugged, receivedFiltered].map(String),
    ]];
  });
}

export function networkText(control: DebugControl): string {
  const rows = networkRows(control);
  return rows.length === 0 ? "there are no network devices" : tabulate([NETWORK_COLUMNS, ...rows]);
}
