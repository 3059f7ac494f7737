// The monitor's commands, and the tables of `info os`, as data. They run in the machine's thread, between slices, and
// change nothing but what their name says. `help`, `space`, `catch` and `step-into-exceptions` are the stub's own.

import { hex } from "../../base/trace.ts";
import type { Refusal } from "../../../gdbstub/target.ts";
import type { DebugArea } from "./area.ts";
import {
  CONTEXT_COLUMNS,
  contextRows,
  EXIT_COLUMNS,
  exitRows,
  lastExits,
  THREAD_COLUMNS,
  threadRows,
} from "./commands/contexts.ts";
import {
  DEVICE_COLUMNS,
  deviceRows,
  devicesText,
  NETWORK_COLUMNS,
  networkRows,
  networkText,
  virtioText,
} from "./commands/devices.ts";
import { balloonText } from "./commands/balloon.ts";
import { gicText, timersText, tlbText, treeText } from "./commands/machine.ts";
import { decodeText, registersText } from "./commands/registers.ts";
import { type CommandPlace, type CommandRow, number, type OsTableRow, refuse, tabulate } from "./commands/row.ts";
import type { DebugControl } from "./control.ts";
import { walkText } from "./walk_text.ts";

/** The world that `[CONTEXT]` of a command means: the first thread of it, running if one is. */
function worldOf(area: DebugArea, id: number): number | undefined {
  const context = area.context(id);
  if (context === undefined || context.threads === 0) return undefined;
  const worlds = [...context.worlds.subarray(0, context.threads)];
  return worlds.find((n) => area.world(n).cpu >= 0) ?? worlds[0];
}

function walk(at: CommandPlace, args: string): string | Refusal {
  const words = args.split(/\s+/).filter((word) => word !== ""), { area, memory } = at.control;
  const address = number(words.at(-1) ?? "");
  if (address === undefined || words.length > 2) return refuse("walk takes an address, after the number of a context");
  let world = at.world;
  if (words.length === 2) {
    const chosen = worldOf(area, Number(words[0]));
    if (chosen === undefined) return refuse(`there is no context ${words[0]}: info contexts`);
    world = chosen;
  }
  return walkText(memory, world, at.space, address);
}

// --- The tables ---------------------------------------------------------------------------------------------------------

const OK = (does: (control: DebugControl) => void, says: string) => ({ control }: CommandPlace): string => {
  does(control);
  return says;
};

export const COMMANDS: readonly CommandRow[] = [
  {
    name: "info registers",
    args: "[GROUP|NAME]",
    help: "registers of this vCPU; system registers by group, by part of their name, or all",
    run: registersText,
  },
  {
    name: "info contexts",
    args: "",
    help: "the hypervisor and its virtual machines, with their vCPUs",
    run: ({ control }) =>
      `${tabulate([CONTEXT_COLUMNS, ...contextRows(control)])}\n\n${
        tabulate([THREAD_COLUMNS, ...threadRows(control)])
      }`,
  },
  {
    name: "info exits",
    args: "",
    help: "how often virtual machines left for EL2, and why",
    run: ({ control }) => {
      const rows = exitRows(control);
      return rows.length === 0
        ? "no virtual machine has left yet"
        : `${tabulate([EXIT_COLUMNS, ...rows])}\n\n${lastExits(control)}`;
    },
  },
  { name: "info gic", args: "", help: "interrupts and their interfaces", run: ({ control }) => gicText(control) },
  { name: "info timers", args: "", help: "the counter and every timer", run: ({ control }) => timersText(control) },
  {
    name: "info tlb",
    args: "[ADDRESS]",
    help: "translations that are cached, of all contexts",
    run: ({ control }, args) => tlbText(control, args),
  },
  { name: "info mtree", args: "", help: "the physical address space", run: ({ control }) => treeText(control) },
  {
    name: "info devices",
    args: "",
    help: "devices and where their registers are",
    run: ({ control }) => devicesText(control),
  },
  {
    name: "info virtio",
    args: "[DEVICE]",
    help: "virtio devices: features, queues, the last chain, errors, counters",
    run: ({ control }, args) => virtioText(control, args),
  },
  {
    name: "info network",
    args: "",
    help: "network devices, and whether their links are up",
    run: ({ control }) => networkText(control),
  },
  {
    name: "info balloon",
    args: "",
    help: "how much memory the guest has, and what it says of it",
    run: ({ control }) => balloonText(control),
  },
  { name: "walk", args: "[CONTEXT] VA", help: "the translation of an address, descriptor by descriptor", run: walk },
  {
    name: "decode",
    args: "REGISTER VALUE",
    help: "fields of a value: esr, spsr, hcr or any register",
    run: (_, args) => decodeText(args),
  },
  {
    name: "read",
    args: "PA [BYTES]",
    help: "reads 1, 2 or 4 bytes at a physical address, a device's register too: that may change it",
    run: ({ control: { machine: { bus } } }, args) => {
      const [where = "", bytes = "4", ...rest] = args.split(/\s+/), pa = number(where);
      if (pa === undefined || pa >= 1n << 48n || !/^[124]$/.test(bytes) || rest.length > 0) {
        return refuse("read takes a physical address, and 1, 2 or 4 bytes");
      }
      const at = Number(pa), count = Number(bytes);
      if (at % count !== 0) return refuse(`${where} is not a multiple of ${count}`);
      const value = bus.read(at, count, -1);
      return value < 0 ? refuse(`nothing is at physical address ${where}`) : hex(value);
    },
  },
  { name: "reset", args: "", help: "resets the machine", run: OK(({ run }) => run.reset(), "the machine was reset") },
  { name: "quit", args: "", help: "ends the program", run: OK(({ run }) => run.quit(), "the machine ends") },
];

export const OS_TABLES: readonly OsTableRow[] = [
  {
    name: "contexts",
    title: "Contexts",
    description: "The hypervisor and its virtual machines",
    columns: CONTEXT_COLUMNS,
    rows: contextRows,
  },
  {
    name: "exits",
    title: "Exits",
    description: "Why virtual machines left for EL2",
    columns: EXIT_COLUMNS,
    rows: exitRows,
  },
  {
    name: "devices",
    title: "Devices",
    description: "Devices of the machine",
    columns: DEVICE_COLUMNS,
    rows: deviceRows,
  },
  {
    name: "networks",
    title: "Networks",
    description: "Network devices",
    columns: NETWORK_COLUMNS,
    rows: networkRows,
  },
];
