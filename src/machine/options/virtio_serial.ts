// `-device virtio-serial-device` and the ports in it: virtconsole and virtserialport, each over a -chardev.

import { UsageError } from "../../base/errors.ts";
import type { ChardevConfig, ConsolePortConfig, VirtioConfig } from "../config.ts";
import { field, type Given, type Variant, variant } from "./declare.ts";
import { count, text, type ValueKind } from "./values.ts";

export interface SerialDraft {
  virtio: VirtioConfig[];
}

/** As many as QEMU's. */
const MOST_PORTS = 31;

const BUS: ValueKind<string> = {
  form: "ID.0",
  parse(value) {
    const id = /^(.+)\.0$/.exec(value)?.[1];
    if (id === undefined) throw new UsageError(`"${value}" is not ID.0 of a virtio-serial-device`);
    return id;
  },
};

export const SERIAL_FIELDS = {
  max_ports: field(count(`1…${MOST_PORTS}`, 1, MOST_PORTS), "how many ports there can be (as many as there are)"),
};

export const serialDevice = ({ max_ports: maxPorts }: Given<typeof SERIAL_FIELDS>) =>
  ({ kind: "serial", ports: [], maxPorts: maxPorts ?? 0 }) as const;

const PORT_FIELDS = {
  chardev: field(text("ID"), "its -chardev"),
  name: field(text("NAME"), "by which the guest finds it"),
  nr: field(count(`0…${MOST_PORTS - 1}`, 0, MOST_PORTS - 1), "its number (the first that is free)"),
  bus: field(BUS, "its virtio-serial-device (the last one)"),
  id: field(text("ID"), "accepted"),
};

function addPort(draft: SerialDraft, isConsole: boolean, given: Given<typeof PORT_FIELDS>): void {
  const { chardev, name, nr, bus } = given;
  if (chardev === undefined) throw new UsageError("needs chardev");
  const index = draft.virtio.findLastIndex(({ kind, id }) => kind === "serial" && (bus === undefined || id === bus));
  const device = draft.virtio[index];
  if (device?.kind !== "serial") {
    throw new UsageError(`needs a virtio-serial-device before it${bus === undefined ? "" : ` with id=${bus}`}`);
  }
  const taken = new Set(device.ports.map(({ number }) => number)), first = isConsole ? 0 : 1;
  const free = Array.from({ length: MOST_PORTS - first }, (_, n) => n + first).find((n) => !taken.has(n));
  const number = nr ?? free, most = device.maxPorts || MOST_PORTS;
  if (number === undefined || number >= most) throw new UsageError(`there are ${most} ports at most`);
  if (taken.has(number)) throw new UsageError(`port ${number} is there already`);
  if (number === 0 && !isConsole) throw new UsageError("port 0 is a virtconsole's");
  const port = { number, isConsole, name: name ?? "", chardev };
  draft.virtio[index] = { ...device, ports: [...device.ports, port].sort((a, b) => a.number - b.number) };
}

export function serialDrivers<D extends SerialDraft>(): readonly Variant<D>[] {
  return [
    variant<D, typeof PORT_FIELDS>(
      "virtconsole",
      PORT_FIELDS,
      "a port that is a console",
      (draft, given) => addPort(draft, true, given),
    ),
    variant<D, typeof PORT_FIELDS>(
      "virtserialport",
      PORT_FIELDS,
      "a port for a program in the guest",
      (draft, given) => addPort(draft, false, given),
    ),
  ];
}

/** The devices with as many ports as there are, each of which has a character device of its own. */
export function withPorts(
  virtio: readonly VirtioConfig[],
  { chardevs, serial }: { readonly chardevs: readonly ChardevConfig[]; readonly serial: string },
): VirtioConfig[] {
  const used = new Set([serial]);
  const check = ({ chardev, isConsole }: ConsolePortConfig) => {
    const driver = isConsole ? "virtconsole" : "virtserialport";
    const found = chardevs.find(({ id }) => id === chardev);
    if (found === undefined) {
      throw new UsageError(`option -device: ${driver}: there is no -chardev with id=${chardev}`);
    }
    if (used.has(chardev) && found.mux !== "on") {
      throw new UsageError(`option -device: ${driver}: chardev ${chardev} is in use, and has no mux=on`);
    }
    used.add(chardev);
  };
  return virtio.map((device) => {
    if (device.kind !== "serial") return device;
    device.ports.forEach(check);
    const highest = device.ports.reduce((most, { number }) => Math.max(most, number + 1), 1);
    return { ...device, maxPorts: device.maxPorts || highest };
  });
}
