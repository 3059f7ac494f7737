// Generates the interpreter's modules: the main function with its `br_table` loop, and handlers that stand alone.

import { assert } from "../base/errors.ts";
import { LEAVE } from "../cpu/status.ts";
import { VCPU } from "../cpu/vcpu.ts";
import { VCPU_BLOCK } from "../memory/host_map.ts";
import { Code } from "../wasm/module.ts";
import { type Callees, NOTHING_WATCHED, type Watches } from "./emit.ts";
import { emitShape, EXIT, FunctionFrame, HANDLER, InlineFrame, type Labels, RECORD_BYTES } from "./frames.ts";
import { HELPER_NAMES, Linker } from "./linker.ts";
import type { Shape } from "./shape.ts";

const AT = VCPU.offset;

/** A module of out-of-line handlers; each puts itself into the table at its number. */
export function buildHandlers(
  pages: number,
  shapes: readonly Shape[],
  number: (s: Shape) => number,
  watches: Watches = NOTHING_WATCHED,
): Uint8Array<ArrayBuffer> {
  const linker = new Linker([...HELPER_NAMES, "slowRead", "slowWrite"], pages, true);
  for (const shape of shapes) {
    const code = new Code(["i32", "i32"], ["i32"]),
      frame = new FunctionFrame(code, linker.callees, code.local("i32"), shape.near);
    frame.watches = watches;
    emitShape(code, frame, shape);
    code.op("unreachable");
    linker.module.element(number(shape), linker.module.add(code));
  }
  return linker.module.build();
}

/**
 * A module of the handler of marked records: asks TypeScript, which answers with a status, or with the number of the
 * out-of-line handler that executes the instruction.
 */
export function buildMarked(pages: number): Uint8Array<ArrayBuffer> {
  const linker = new Linker([...HELPER_NAMES, "slowRead", "slowWrite", "marked"], pages, true);
  const handlerType = linker.module.type(["i32", "i32"], ["i32"]);
  const code = new Code(["i32", "i32"], ["i32"]), answer = code.local("i32");
  const frame = new FunctionFrame(code, linker.callees, answer, false);
  frame.storePc();
  code.get(frame.cpu);
  code.get(frame.record);
  code.call(linker.index("marked"));
  code.tee(answer);
  code.i32(LEAVE);
  code.op("i32.le_u");
  code.block("if");
  code.get(answer);
  code.op("return");
  code.end();
  code.get(frame.cpu);
  code.get(frame.record);
  code.get(answer);
  code.callIndirect(handlerType);
  linker.module.element(HANDLER.MARKED, linker.module.add(code));
  return linker.module.build();
}

/** slowRead/slowWrite: stores the pc, then asks TypeScript; small results mean "the datum is in state.transfer". */
function slowAccess(linker: Linker, importName: string): Code {
  const code = new Code(["i32", "i32", "i64", "i32"], ["i32"]), cpu = 0, record = 1, va = 2, desc = 3;
  const host = code.local("i32");
  code.get(cpu);
  code.get(cpu);
  code.memory("i64.load", AT.pcDelta);
  code.get(record);
  code.i32(2);
  code.op("i32.shr_u");
  code.op("i64.extend_i32_u");
  code.op("i64.add");
  code.memory("i64.store", AT.pc);
  code.get(cpu);
  code.get(va);
  code.op("i32.wrap_i64");
  code.get(va);
  code.i64(32n);
  code.op("i64.shr_u");
  code.op("i32.wrap_i64");
  code.get(desc);
  code.call(linker.index(importName));
  code.tee(host);
  code.i32(1);
  code.op("i32.eq");
  code.block("if", "i32");
  code.get(cpu);
  code.i32(AT.transfer);
  code.op("i32.add");
  code.else();
  code.get(host);
  code.end();
  return code;
}

/** The module of `run`. With `profileAt`, calls of out-of-line handlers are counted from that address on. */
export function buildMain(
  pages: number,
  inline: readonly Shape[],
  profileAt?: number,
  watches: Watches = NOTHING_WATCHED,
): Uint8Array<ArrayBuffer> {
  const linker = new Linker([...HELPER_NAMES, "dataRead", "dataWrite", "fetch", "predecode"], pages, true);
  const { module } = linker;
  const callees: Callees = {
    slowRead: linker.define("slowRead", slowAccess(linker, "dataRead")),
    slowWrite: linker.define("slowWrite", slowAccess(linker, "dataWrite")),
    helper: (name) => linker.index(name),
  };
  const handlerType = module.type(["i32", "i32"], ["i32"]);
  const code = new Code(["i32"], ["i32"]), cpu = 0;
  const record = code.local("i32"), status = code.local("i32"), limit = code.local("i32"), entry = code.local("i32");
  const pc = code.local("i64");

  // limit = 16 × (budget + 1) with record = 0: the first refetch counts one instruction that was not executed.
  code.get(cpu);
  code.get(cpu);
  code.memory("i32.load", AT.budget);
  code.i32(1);
  code.op("i32.add");
  code.i32(4);
  code.op("i32.shl");
  code.memory("i32.store", AT.limit);

  // block exhausted { loop again { block status { block refetch { if (record) loop next { … } } refetch: … } status: … } }
  const labels: Labels = { exhausted: code.depth, loop: 0, refetch: 0, status: 0 };
  code.block("block");
  const again = code.depth;
  code.block("loop");
  labels.status = code.depth;
  code.block("block");
  labels.refetch = code.depth;
  code.block("block");
  code.get(record);
  code.op("i32.eqz");
  code.br(labels.refetch, "br_if");
  labels.loop = code.depth;
  code.block("loop");
  const cases = HANDLER.FIRST + inline.length, first = code.depth;
  for (let i = 0; i <= cases; i++) code.block("block");
  code.get(record);
  code.memory("i32.load16_u", 0);
  code.op("br_table");
  code.u32(cases);
  for (let i = 0; i <= cases; i++) code.u32(i);

  const frame = new InlineFrame(code, record, callees, labels, status);
  frame.watches = watches;
  // case 0: not decoded yet
  code.end();
  frame.storePc();
  code.get(cpu);
  code.get(record);
  code.call(linker.index("predecode"));
  code.br(labels.loop);
  // case 1: the end of the page, which is no instruction
  code.end();
  frame.storePc();
  code.get(cpu);
  code.get(cpu);
  code.memory("i32.load", AT.limit);
  code.i32(RECORD_BYTES);
  code.op("i32.add");
  code.memory("i32.store", AT.limit);
  code.br(labels.refetch);
  for (const shape of inline) {
    code.end();
    frame.near = shape.near;
    frame.release();
    emitShape(code, frame, shape);
  }
  // default: an out-of-line handler
  code.end();
  assert(code.depth === first, "blocks of the handlers are closed");
  if (profileAt !== undefined) count(profileAt);
  code.get(cpu);
  code.get(record);
  code.get(record);
  code.memory("i32.load16_u", 0);
  code.callIndirect(handlerType);
  code.tee(status);
  code.br(labels.status, "br_if");
  frame.next();
  code.end(); // loop
  code.end(); // refetch:
  emitRefetch();
  code.end(); // status: 1 = refetch, 2 = leave
  code.get(status);
  code.i32(1);
  code.op("i32.ne");
  code.block("if");
  finish(RECORD_BYTES);
  code.i32(EXIT.LEAVE);
  code.op("return");
  code.end();
  emitRefetch();
  code.end(); // again
  code.end(); // exhausted:
  frame.storePc();
  finish(0);
  code.i32(EXIT.BUDGET);
  linker.define("run", code);
  return module.build();

  /** Counts the handler of the current record. */
  function count(at: number) {
    code.get(record);
    code.memory("i32.load16_u", 0);
    code.i32(2);
    code.op("i32.shl");
    code.tee(entry);
    code.get(entry);
    code.memory("i32.load", at);
    code.i32(1);
    code.op("i32.add");
    code.memory("i32.store", at);
  }
  /** budget = what is left: (limit − record − executed) / 16. */
  function finish(executed: number) {
    code.get(cpu);
    code.get(cpu);
    code.memory("i32.load", AT.limit);
    code.get(record);
    code.op("i32.sub");
    code.i32(executed);
    code.op("i32.sub");
    code.i32(4);
    code.op("i32.shr_s");
    code.memory("i32.store", AT.budget);
  }
  /** Continues at state.pc: fetch TLB, else TypeScript. Counts one instruction. */
  function emitRefetch() {
    code.get(cpu);
    code.memory("i64.load", AT.pc);
    code.tee(pc);
    code.op("i32.wrap_i64");
    code.i32(8);
    code.op("i32.shr_u");
    code.i32(0xfff0);
    code.op("i32.and");
    code.get(cpu);
    code.op("i32.add");
    code.tee(entry);
    code.memory("i64.load", VCPU_BLOCK.fetchTlb);
    code.get(pc);
    code.i64(~0xffcn);
    code.op("i64.and");
    code.get(cpu);
    code.memory("i64.load", AT.context);
    code.op("i64.or");
    code.op("i64.eq");
    code.hintedIf(true, "i32");
    code.get(entry);
    code.memory("i32.load", VCPU_BLOCK.fetchTlb + 8);
    inPage();
    code.op("i32.add");
    code.else();
    code.get(cpu);
    code.get(record);
    code.memory("i32.store", AT.fetchFrom);
    code.get(cpu);
    code.call(linker.index("fetch"));
    code.tee(entry);
    code.op("i32.eqz");
    code.hintedIf(false);
    // The fetch faulted and state.pc is the vector: start again from there. Each fault counts as an instruction, so
    // that a vector that cannot be fetched uses up the budget.
    code.get(cpu);
    code.get(cpu);
    code.memory("i32.load", AT.limit);
    code.get(record);
    code.op("i32.sub");
    code.i32(RECORD_BYTES);
    code.op("i32.sub");
    code.tee(limit);
    code.memory("i32.store", AT.limit);
    code.i32(0);
    code.set(record);
    code.get(limit);
    code.i32(0);
    code.op("i32.gt_s");
    code.br(again, "br_if");
    finish(RECORD_BYTES);
    code.i32(EXIT.LEAVE);
    code.op("return");
    code.end();
    code.get(cpu);
    code.memory("i64.load", AT.pc);
    code.set(pc);
    code.get(entry);
    code.end();
    code.set(entry);
    // limit moves with the record, less the instruction that was executed.
    code.get(cpu);
    code.get(cpu);
    code.memory("i32.load", AT.limit);
    code.get(entry);
    code.op("i32.add");
    code.get(record);
    code.op("i32.sub");
    code.i32(RECORD_BYTES);
    code.op("i32.sub");
    code.tee(limit);
    code.memory("i32.store", AT.limit);
    // pcDelta = page − (record base >>> 2)
    code.get(cpu);
    code.get(pc);
    code.i64(~0xfffn);
    code.op("i64.and");
    code.get(entry);
    inPage();
    code.op("i32.sub");
    code.i32(2);
    code.op("i32.shr_u");
    code.op("i64.extend_i32_u");
    code.op("i64.sub");
    code.memory("i64.store", AT.pcDelta);
    code.get(entry);
    code.set(record);
    code.get(limit);
    code.get(record);
    code.op("i32.gt_s");
    code.br(again, "br_if");
    code.br(labels.exhausted);
  }
  /** (pc & 0xffc) << 2, an offset in the page's records. */
  function inPage() {
    code.get(pc);
    code.op("i32.wrap_i64");
    code.i32(2);
    code.op("i32.shl");
    code.i32(0x3ff0);
    code.op("i32.and");
  }
}
