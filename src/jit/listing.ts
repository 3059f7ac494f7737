// The Wasm of one handler as the text format, with the names of what it touches: for `deno task explain`.

import { SYSREG_NAMES, SYSREGS_OFFSET, SYSTEM_REGISTERS } from "../arch/sysregs.ts";
import { VCPU } from "../cpu/vcpu.ts";
import { VCPU_BLOCK } from "../memory/host_map.ts";
import { Code } from "../wasm/module.ts";
import { printWat, type WatNames } from "../wasm/wat.ts";
import { emitShape, FunctionFrame, InlineFrame } from "./frames.ts";
import { HELPER_NAMES, Linker, signature } from "./linker.ts";
import type { Shape } from "./shape.ts";

const CALLED = [...HELPER_NAMES, "slowRead", "slowWrite"];
/** The blocks around a handler of the main function, innermost first, by their labels there. */
const AROUND = ["$next", "$refetch", "$status", "$exhausted"];

/** The lines of the handler of a shape, as a case of the main function or as a function of its own. */
export function handlerListing(shape: Shape, inline: boolean): string[] {
  const linker = new Linker(CALLED, 1, true);
  const code = inline ? new Code(["i32"], ["i32"]) : new Code(["i32", "i32"], ["i32"]);
  const record = inline ? code.local("i32") : 1, status = code.local("i32");
  if (inline) {
    const depth = (label: string) => AROUND.length - 1 - AROUND.indexOf(label);
    code.depth = AROUND.length;
    const frame = new InlineFrame(code, record, linker.callees, {
      loop: depth("$next"),
      refetch: depth("$refetch"),
      status: depth("$status"),
      exhausted: depth("$exhausted"),
    }, status);
    frame.near = shape.near;
    emitShape(code, frame, shape);
  } else emitShape(code, new FunctionFrame(code, linker.callees, status, shape.near), shape);
  return printWat(code, namesFor(shape, record, status, inline));
}

function namesFor(shape: Shape, record: number, status: number, inline: boolean): WatNames {
  const locals = new Map([[0, "$cpu"], [record, "$record"], [status, "$status"]]);
  const kinds = new Map(shape.definition.fields.map((field) => [field.name, field.kind]));
  const slots = new Map(shape.definition.operands.map(({ name, slot }) => [slot.offset, name]));
  return {
    function(index) {
      const name = CALLED[index]!, { params, results } = signature(name);
      return { name, params: params.length, results: results.length };
    },
    local: (index) => locals.get(index) ?? `$${index}`,
    memory(base, offset) {
      if (base === "(local.get $cpu)") return fieldAt(offset);
      if (base === "(local.get $record)") return slots.get(offset);
      const slot = /^\(i32\.add \(local\.get \$cpu\) \(i32\.load16_u(?: offset=(\d+))? \(local\.get \$record\)\)\)$/
        .exec(base);
      if (slot !== null) {
        const name = slots.get(Number(slot[1] ?? 0)) ?? "", kind = kinds.get(name);
        if (kind === undefined) return `at ${name}`;
        return kind === "V" ? `V[${name}]${part(offset - VCPU.offset.v)}` : `X[${name}]`;
      }
      const tlb = Object.entries(TLBS).find(([, at]) => offset === at || offset === at + 8);
      return tlb && `${tlb[0]} ${offset === tlb[1] ? "tag" : "addend"}`;
    },
    ...(inline ? { labels: AROUND } : {}),
  };
}

const TLBS = { readTlb: VCPU_BLOCK.readTlb, writeTlb: VCPU_BLOCK.writeTlb } as const;
const part = (offset: number): string => offset === 0 ? "" : ` + ${offset}`;

/** What lies at an offset from a vCPU's base. */
function fieldAt(offset: number): string | undefined {
  if (offset >= SYSREGS_OFFSET) {
    return SYSREG_NAMES.find((name) => SYSREGS_OFFSET + SYSTEM_REGISTERS.offset[name] === offset);
  }
  if (offset < VCPU.offset.v) return offset === 32 * 8 ? "SP" : `X${offset / 8}`;
  const fields = Object.entries(VCPU.offset);
  const found = fields.findLast(([, at]) => at <= offset);
  return found && `${found[0]}${part(offset - found[1])}`;
}
