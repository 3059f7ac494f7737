// The interrupt controller, timers, TLBs and the physical address space as text.

import { COUNTER_HZ } from "../../../base/clock.ts";
import { hex } from "../../../base/trace.ts";
import { HALT } from "../../../cpu/vcpu.ts";
import { INTERRUPTS, placeState } from "../../../gic/state.ts";
import { HOST_MAP } from "../../../memory/host_map.ts";
import { CACHED, CACHED_DEVICE } from "../../../mmu/tlb.ts";
import type { Refusal } from "../../../../gdbstub/target.ts";
import type { DebugControl } from "../control.ts";
import { number, refuse, tabulate } from "./row.ts";

const LIST_STATES = ["invalid", "pending", "active", "pending and active"];

export function gicText({ machine, area }: DebugControl): string {
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

export function timersText({ machine }: DebugControl): string {
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

export function tlbText({ machine }: DebugControl, args: string): string | Refusal {
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

export function treeText({ machine: { bus } }: DebugControl): string {
  const rows = [
    ...bus.ranges.map(({ name, base, size, writable }) => ({ name, base, size, kind: writable ? "ram" : "rom" })),
    ...bus.regions.map(({ name, base, size }) => ({ name, base, size, kind: "i/o" })),
  ].sort((a, b) => a.base - b.base);
  const wide = (n: number) => n.toString(16).padStart(12, "0");
  return tabulate(rows.map(({ name, base, size, kind }) => [`${wide(base)}-${wide(base + size - 1)}`, kind, name]));
}
