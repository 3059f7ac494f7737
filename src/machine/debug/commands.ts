// The monitor's commands, and the tables of `info os`, as data. They run in the machine's thread, between slices, and
// change nothing but what their name says. `help`, `space`, `catch` and `step-into-exceptions` are the stub's own.

import { ESR_BITS } from "../../arch/esr.ts";
import { SPSR_BITS } from "../../arch/pstate.ts";
import { REGISTERS, SYSREG_NAMES, type SysregName } from "../../arch/sysregs.ts";
import { exceptionClassName, issLayout, syndromeWords } from "../../arch/esr_text.ts";
import { getField, type Layout, layout } from "../../base/bits.ts";
import { COUNTER_HZ } from "../../base/clock.ts";
import { hex } from "../../base/trace.ts";
import { packSpsr } from "../../cpu/pstate.ts";
import { HALT } from "../../cpu/vcpu.ts";
import { INTERRUPTS, placeState } from "../../gic/state.ts";
import { HOST_MAP } from "../../memory/host_map.ts";
import { CACHED, CACHED_DEVICE } from "../../mmu/tlb.ts";
import { type AddressSpace, ERRNO, Refusal } from "../../../gdbstub/target.ts";
import { type DebugArea, EXIT_REASONS } from "./area.ts";
import { exceptionWords } from "./catchpoints.ts";
import type { DebugControl } from "./control.ts";
import { describeRegisters, groupOf } from "./registers.ts";
import { contextName, stateOf } from "./words.ts";
import { walkText } from "./walk_text.ts";

/** Where a command is given. */
export interface CommandPlace {
  readonly control: DebugControl;
  readonly world: number;
  readonly space: AddressSpace;
}

export interface CommandRow {
  readonly name: string;
  readonly args: string;
  readonly help: string;
  readonly run: (at: CommandPlace, args: string) => string | Refusal;
}

export interface OsTableRow {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly columns: readonly string[];
  readonly rows: (control: DebugControl) => readonly (readonly string[])[];
}

const refuse = (text: string) => new Refusal(text, ERRNO.EINVAL);

/** Columns as wide as their widest cell. */
function tabulate(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, n) => Math.max(...rows.map((row) => row[n]!.length))) ?? [];
  return rows.map((row) => row.map((cell, n) => cell.padEnd(widths[n]!)).join("  ").trimEnd()).join("\n");
}

// --- Contexts and exits -------------------------------------------------------------------------------------------------

const CONTEXT_COLUMNS = ["Id", "Name", "VMID", "Stage 2 table", "Threads", "Entries"];
function contextRows({ area }: DebugControl): string[][] {
  return area.places().map((place) => {
    const { id, vmid, table, threads, entries } = area.contexts[place]!;
    const own = id === 1 ? ["-", "-"] : [`${vmid}`, hex(table)];
    return [`${id}`, contextName(area, place), ...own, `${threads}`, id === 1 ? "-" : `${entries}`];
  });
}

const THREAD_COLUMNS = ["Thread", "Name", "State"];
function threadRows({ area }: DebugControl): string[][] {
  return area.places().flatMap((place) => {
    const { id, threads, worlds } = area.contexts[place]!;
    return [...worlds.subarray(0, threads)].map((world) => {
      const { thread } = area.world(world);
      return [`${id}.${thread}`, `${contextName(area, place)} vcpu ${thread - 1}`, stateOf(area, world)];
    });
  });
}

const reasonName = (reason: number): string =>
  reason < 64 ? exceptionClassName(reason) : exceptionWords(reason - 63, 0);

const EXIT_COLUMNS = ["Context", "Reason", "Exits"];
function exitRows({ area }: DebugControl): string[][] {
  return area.places().filter((place) => area.contexts[place]!.id > 1).flatMap((place) => {
    const { reasons } = area.contexts[place]!;
    return Array.from({ length: EXIT_REASONS }, (_, n) => n).filter((n) => reasons[n]! > 0)
      .sort((a, b) => reasons[b]! - reasons[a]!)
      .map((n) => [contextName(area, place), reasonName(n), `${reasons[n]}`]);
  });
}

const DEVICE_COLUMNS = ["Device", "Address", "Size"];
function deviceRows({ machine: { bus } }: DebugControl): string[][] {
  return bus.regions.map(({ name, base, size }) => [name, hex(base), hex(size)]);
}

const lastExits = ({ area }: DebugControl): string =>
  area.places().flatMap((place) => {
    const { id, threads, worlds } = area.contexts[place]!;
    if (id === 1) return [];
    return [...worlds.subarray(0, threads)].filter((n) => area.world(n).exits > 0).map((n) => {
      const { thread, exitKind, exitSyndrome, exitEl, exitPc, exits } = area.world(n);
      const words = exceptionWords(exitKind, exitSyndrome);
      return `${contextName(area, place)} vcpu ${thread - 1}: ${exits} exits, last ${words} at EL${exitEl}, pc ${
        hex(exitPc)
      }`;
    });
  }).join("\n");

// --- Registers ----------------------------------------------------------------------------------------------------------

function fieldsText(fields: Layout, value: bigint): string {
  const parts = fields.fields.filter((f) => f.width < fields.width).flatMap((f) => {
    const content = getField(value, f);
    if (content === 0n) return [];
    return f.width === 1 ? [f.name] : [`${f.name}=${hex(content)}`];
  });
  return parts.length === 0 ? "" : `[ ${parts.join(" ")} ]`;
}

function registersText({ control, world }: CommandPlace, args: string): string | Refusal {
  const { area, memory, registers, machine } = control, { state } = memory.bank(world);
  const pattern = args.toLowerCase(), wide = (v: bigint) => v.toString(16).padStart(16, "0");
  if (pattern === "") {
    const x = Array.from({ length: 31 }, (_, n) => `x${n}`.padEnd(4) + wide(state.x[n]!));
    x.push("sp  " + wide(state.x[32]!), "pc  " + wide(state.pc), `cpsr ${hex(packSpsr(state))}`);
    const lines: string[] = [];
    for (let n = 0; n < x.length; n += 3) lines.push(x.slice(n, n + 3).join("  "));
    return lines.join("\n");
  }
  const rows = describeRegisters(machine.vcpus[0]!.model, world < area.cpus).filter(({ general, name, group }) =>
    !general && (pattern === "all" || group === pattern || name.toLowerCase().includes(pattern))
  );
  if (rows.length === 0) {
    const groups = [...new Set(SYSREG_NAMES.map(groupOf))].join(", ");
    return refuse(`no system register has "${args}" in its name, and the groups are ${groups}`);
  }
  return tabulate(rows.map(({ name }) => {
    const value = registers.readSystem(world, name as SysregName);
    if (value instanceof Refusal) return [name, value.text, ""];
    return [name, `0x${wide(value)}`, fieldsText(REGISTERS[name as SysregName].layout, value)];
  }));
}

// --- Decoding -----------------------------------------------------------------------------------------------------------

const DECODERS: Readonly<Record<string, Layout>> = {
  esr: layout(64, ESR_BITS),
  spsr: layout(64, SPSR_BITS),
  cpsr: layout(64, SPSR_BITS),
};

/** The register that a name stands for: HCR_EL2, or hcr, which is the first that begins with it. */
function layoutOf(name: string): Layout | undefined {
  const wanted = name.toUpperCase();
  const found = SYSREG_NAMES.find((n) => n === wanted) ?? SYSREG_NAMES.find((n) => n.startsWith(`${wanted}_`));
  return DECODERS[name.toLowerCase()] ?? (found === undefined ? undefined : REGISTERS[found].layout);
}

function decodeText(args: string): string | Refusal {
  const [name = "", text = "", ...rest] = args.split(/\s+/), value = number(text);
  if (value === undefined || rest.length > 0) return refuse("decode takes a register's name and a value");
  const fields = layoutOf(name);
  if (fields === undefined) return refuse(`no register is called ${name}`);
  const lines: string[] = [], isEsr = /^esr(_|$)/i.test(name);
  if (isEsr) lines.push(syndromeWords(Number(value & 0xffff_ffffn)));
  const show = (of: Layout, from: bigint) => {
    for (const f of of.fields) {
      const bits = f.width === 1 ? `${f.lsb}` : `${f.lsb + f.width - 1}:${f.lsb}`;
      lines.push(`${bits.padStart(6)}  ${f.name.padEnd(12)} ${hex(getField(from, f))}`);
    }
  };
  show(fields, value);
  const iss = isEsr ? issLayout(Number(value >> 26n & 63n)) : undefined;
  if (iss !== undefined) {
    lines.push("ISS:");
    show(iss, value & 0x1ff_ffffn);
  }
  const unknown = value & ~fields.fields.reduce((mask, f) => mask | f.mask, 0n);
  if (unknown !== 0n) lines.push(`reserved bits: ${hex(unknown)}`);
  return lines.join("\n");
}

/** A number as people write it, 64 bits; undefined when it is none. */
export function number(text: string): bigint | undefined {
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text)) return undefined;
  const value = BigInt(text);
  return value < 1n << 64n ? value : undefined;
}

// --- The interrupt controller, timers, TLBs -----------------------------------------------------------------------------

const LIST_STATES = ["invalid", "pending", "active", "pending and active"];

function gicText({ machine, area }: DebugControl): string {
  const { buffer } = machine.around.memory,
    { distributor, privates, physical, virtual } = placeState(
      buffer,
      HOST_MAP.devices.base,
      machine.vcpus.length,
    );
  const lines = [`distributor: control ${hex(distributor.ctlr)}`];
  const word = (n: number, cpu: number) => n < 32 ? privates[cpu]! : distributor;
  const bit = (map: "enabled" | "pending" | "active" | "level" | "group", n: number, cpu: number) =>
    (word(n, cpu)[map][n < 32 ? 0 : n >> 5]! >>> (n & 31) & 1) === 1;
  const interrupt = (n: number, cpu: number): string | undefined => {
    const states = (["enabled", "pending", "active", "level"] as const).filter((map) => bit(map, n, cpu));
    if (states.length === 0) return undefined;
    const priority = n < 32 ? privates[cpu]!.priority[n]! : distributor.priority[n]!;
    const where = n < 32 ? "" : `, targets ${hex(distributor.targets[n]!)}`;
    return `${n}`.padStart(5) +
      `: ${states.join(", ")}; priority ${hex(priority)}, group ${bit("group", n, cpu) ? 1 : 0}${where}`;
  };
  machine.vcpus.forEach((_, cpu) => {
    const { best, bestPriority, control } = physical[cpu]!, { hcr, lr, outputs } = privates[cpu]!;
    lines.push(
      `CPU ${cpu}: lines ${hex(outputs)}, priority mask ${hex(control >>> 24)}, best ${best} at ${hex(bestPriority)}`,
    );
    for (let n = 0; n < 32; n++) lines.push(...[interrupt(n, cpu)].filter((l) => l !== undefined));
    if (area.header.hasEl2 === 0) return;
    lines.push(`  virtual interface: HCR ${hex(hcr)}, priority mask ${hex(virtual[cpu]!.control >>> 24)}`);
    lr.forEach((value, n) => {
      if (value === 0n) return;
      const hw = (value >> 61n & 1n) === 1n ? `, hardware ${value >> 32n & 0x1fffn}` : "";
      const state = LIST_STATES[Number(value >> 62n)];
      lines.push(
        `    LR${n}: ${state}, interrupt ${value & 0xffff_ffffn}, priority ${hex(value >> 48n & 0xffn)}${hw}`,
      );
    });
  });
  lines.push("shared interrupts:");
  for (let n = 32; n < INTERRUPTS; n++) lines.push(...[interrupt(n, 0)].filter((l) => l !== undefined));
  return lines.join("\n");
}

function timersText({ machine }: DebugControl): string {
  const now = BigInt(machine.around.clock.ticks()), seconds = (ticks: bigint) => Number(ticks) / COUNTER_HZ;
  const lines = [`counter ${hex(now)}, ${seconds(now).toFixed(6)} s`];
  for (const { sys, index, state, hasEl2 } of machine.vcpus) {
    lines.push(`CPU ${index}${state.halt === HALT.OFF ? ", off" : ""}: CNTVOFF_EL2 ${hex(sys.CNTVOFF_EL2)}`);
    const rows = [
      ["physical (CNTP)", sys.CNTP_CTL_EL0, sys.CNTP_CVAL_EL0, 0n],
      ["virtual (CNTV)", sys.CNTV_CTL_EL0, sys.CNTV_CVAL_EL0, sys.CNTVOFF_EL2],
      ["hypervisor (CNTHP)", sys.CNTHP_CTL_EL2, sys.CNTHP_CVAL_EL2, 0n],
      ["hypervisor's virtual (CNTHV)", sys.CNTHV_CTL_EL2, sys.CNTHV_CVAL_EL2, 0n],
    ] as const;
    for (const [name, control, compare, offset] of rows) {
      if (name.startsWith("hypervisor") && !hasEl2) continue;
      const left = BigInt.asIntN(64, compare - (now - offset));
      const state = (control & 1n) === 0n
        ? "off"
        : `${(control & 2n) !== 0n ? "masked, " : ""}due ${
          left <= 0n ? `since ${seconds(-left).toFixed(6)} s` : `in ${seconds(left).toFixed(6)} s`
        }`;
      lines.push(`  ${name}: ${state}; CTL ${hex(control)}, CVAL ${hex(compare)}`);
    }
  }
  return lines.join("\n");
}

const MOST_ENTRIES = 512;

function tlbText({ machine }: DebugControl, args: string): string | Refusal {
  const wanted = args === "" ? undefined : number(args);
  if (args !== "" && wanted === undefined) return refuse("info tlb takes an address, or nothing");
  const lines: string[] = [];
  for (const mmu of machine.mmus) {
    const { cache } = mmu.tlb, rows: string[][] = [];
    let count = 0;
    for (let at = 0; at < cache.length; at += 8) {
      const lo = cache[at]!, hi = cache[at + CACHED.TAG_HI]!, context = (lo & 4095) >>> 2;
      if (lo === -1 && hi === -1) continue;
      const page = BigInt(hi >>> 0) << 32n | BigInt((lo & ~4095) >>> 0);
      if (wanted !== undefined && page !== (wanted & ~4095n)) continue;
      if (++count > MOST_ENTRIES) continue;
      const flags = cache[at + CACHED.FLAGS]!, { regime, el0, asid, vmid, stage2 } = mmu.contexts.controls(context);
      rows.push([
        "  " + hex(page),
        hex(mmu.tlb.physical(at, 0)),
        [..."rwx"].map((letter, n) => (flags >> n & 1) !== 0 ? letter : "-").join(""),
        (flags & CACHED_DEVICE) !== 0 ? "device" : "normal",
        ["EL1&0", "EL2", "EL2&0"][regime]! + (el0 ? " at EL0" : ""),
        `ASID ${asid}` + (stage2 ? `, VMID ${vmid}` : ""),
      ]);
    }
    lines.push(`CPU ${mmu.cpu}: ${count} translations`);
    if (rows.length > 0) lines.push(tabulate(rows));
    if (count > MOST_ENTRIES) lines.push(`  … ${count - MOST_ENTRIES} more: info tlb ADDRESS`);
  }
  return lines.join("\n");
}

function treeText({ machine: { bus } }: DebugControl): string {
  const rows = [
    ...bus.ranges.map(({ name, base, size, writable }) => ({ name, base, size, kind: writable ? "ram" : "rom" })),
    ...bus.regions.map(({ name, base, size }) => ({ name, base, size, kind: "i/o" })),
  ].sort((a, b) => a.base - b.base);
  const wide = (n: number) => n.toString(16).padStart(12, "0");
  return tabulate(rows.map(({ name, base, size, kind }) => [`${wide(base)}-${wide(base + size - 1)}`, kind, name]));
}

// --- Walks --------------------------------------------------------------------------------------------------------------

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
    run: ({ control }) => tabulate([DEVICE_COLUMNS, ...deviceRows(control)]),
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
];
