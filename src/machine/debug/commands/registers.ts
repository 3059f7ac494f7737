// Registers as text, and the fields of a value.

import { ESR_BITS } from "../../../arch/esr.ts";
import { issLayout, syndromeWords } from "../../../arch/esr_text.ts";
import { SPSR_BITS } from "../../../arch/pstate.ts";
import { REGISTERS, SYSREG_NAMES, type SysregName } from "../../../arch/sysregs.ts";
import { getField, type Layout, layout } from "../../../base/bits.ts";
import { hex } from "../../../base/trace.ts";
import { packSpsr } from "../../../cpu/pstate.ts";
import { Refusal } from "../../../../gdbstub/target.ts";
import { describeRegisters, groupOf } from "../registers.ts";
import { type CommandPlace, number, refuse, tabulate } from "./row.ts";

function fieldsText(fields: Layout, value: bigint): string {
  const parts = fields.fields.filter((f) => f.width < fields.width).flatMap((f) => {
    const content = getField(value, f);
    if (content === 0n) return [];
    return f.width === 1 ? [f.name] : [`${f.name}=${hex(content)}`];
  });
  return parts.length === 0 ? "" : `[ ${parts.join(" ")} ]`;
}

export function registersText({ control, world }: CommandPlace, args: string): string | Refusal {
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

export function decodeText(args: string): string | Refusal {
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
