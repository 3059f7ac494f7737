// Tier 0: an interpreter generated as Wasm from the instruction definitions. One function with a `br_table` loop runs
// predecoded 16-byte records; the most frequent handlers are inside it, all others are functions of their own behind a
// table, generated when an instruction of their shape is first predecoded. `docs/how-it-works.md` walks through it.
//
// Record: u16 handler number, then the operands that `define.ts` placed. Numbers below the inline count are cases of the
// `br_table`; others are table indices of out-of-line handlers.

import { assert } from "../base/errors.ts";
import { VCPU } from "../cpu/vcpu.ts";
import { type Definition, fields31, instantiate } from "../isa/define.ts";
import { type Builder } from "../isa/ir.ts";
import { type HelperName, HELPERS } from "../isa/helpers.ts";
import { VCPU_BLOCK } from "../memory/host_map.ts";
import { Code, Module, type ValueType } from "../wasm/module.ts";
import { type Callees, emitInstruction, type Frame } from "./emit.ts";

const AT = VCPU.offset;
/** Bytes of a record. */
export const RECORD_BYTES = 16;
/** Handler numbers with a meaning of their own. */
export const HANDLER = { UNDECODED: 0, PAGE_END: 1, FIRST: 2 } as const;
/** What `run` returns: the budget is used up (or an exit was forced), or a helper asked to leave. */
export const EXIT = { BUDGET: 0, LEAVE: 1 } as const;
const TABLE_SIZE = 16384;

/** Everything TypeScript supplies to generated code. All take the vCPU's base address first. */
export type Imports = Record<HelperName, (cpu: number, ...args: never[]) => number | bigint> & {
  /** (cpu, vaLo, vaHi, desc) → host address, 0 after a fault; see src/mmu/access.ts. */
  dataRead: (cpu: number, vaLo: number, vaHi: number, desc: number) => number;
  dataWrite: (cpu: number, vaLo: number, vaHi: number, desc: number) => number;
  /** (cpu) → record address of the instruction at state.pc, 0 after a fault. */
  fetch: (cpu: number) => number;
  /** (cpu, record): fills the record of an instruction that was not met before. */
  predecode: (cpu: number, record: number) => void;
};

/** One way to execute an instruction: definition, selector values, which registers are number 31, near or far branch. */
export interface Shape {
  readonly key: string;
  readonly definition: Definition;
  /** A word of this shape. */
  readonly word: number;
  readonly is31: ReadonlySet<string>;
  readonly near: boolean;
}

/** The shape of `word`; `near` says that a branch stays inside its page. */
export function shapeOf(definition: Definition, word: number, near: boolean): Shape {
  const at31 = fields31(definition, word), needs = new Set<string>();
  const probe = instantiate(definition, word, "interpret", new Set(), needs);
  const is31 = new Set([...needs].filter((name) => at31.has(name)));
  const { branches } = definition;
  assert(branches === probe.effects.some((e) => e.kind === "branch"), `${definition.name} says whether it branches`);
  const selectors = definition.selectors.map((f) => (word >>> f.lsb) & (2 ** f.width - 1));
  const flags = [...is31].sort().map((name) => `${name}=31`);
  if (branches) flags.push(near ? "near" : "far");
  return {
    key: [definition.name, selectors.join(","), ...flags].join("/"),
    definition,
    word,
    is31,
    near: branches && near,
  };
}

class Linker {
  readonly module = new Module();
  readonly #indices = new Map<string, number>();
  readonly callees: Callees;
  constructor(names: readonly string[], pages: number, table: boolean) {
    this.module.importMemory("memory", pages, pages);
    if (table) this.module.importTable("handlers", TABLE_SIZE);
    for (const name of names) {
      const { params, results } = signature(name);
      this.#indices.set(name, this.module.importFunction(name, params, results));
    }
    this.callees = {
      slowRead: this.#indices.get("slowRead") ?? -1,
      slowWrite: this.#indices.get("slowWrite") ?? -1,
      helper: (name) => this.index(name),
    };
  }
  index(name: string): number {
    const index = this.#indices.get(name);
    assert(index !== undefined, `${name} is not imported`);
    return index;
  }
  define(name: string, code: Code): number {
    const index = this.module.add(code, name);
    this.#indices.set(name, index);
    return index;
  }
}
function signature(name: string): { params: ValueType[]; results: ValueType[] } {
  if (name === "dataRead" || name === "dataWrite") return { params: ["i32", "i32", "i32", "i32"], results: ["i32"] };
  if (name === "slowRead" || name === "slowWrite") return { params: ["i32", "i32", "i64", "i32"], results: ["i32"] };
  if (name === "fetch") return { params: ["i32"], results: ["i32"] };
  if (name === "predecode") return { params: ["i32", "i32"], results: [] };
  const helper = HELPERS[name as HelperName];
  const results: ValueType[] = helper.result === "none" ? [] : [helper.result === "status" ? "i32" : helper.result];
  return { params: ["i32", ...helper.params], results };
}
const HELPER_NAMES = Object.keys(HELPERS);

/** A frame whose `record` is a local of the function and whose pc is computed from it. */
abstract class RecordFrame implements Frame {
  abstract readonly cpu: number;
  abstract readonly record: number;
  abstract readonly callees: Callees;
  readonly #free: { type: ValueType; local: number }[] = [];
  readonly #all: { type: ValueType; local: number }[] = [];
  constructor(readonly code: Code) {}
  local(type: ValueType): number {
    const i = this.#free.findIndex((l) => l.type === type);
    if (i >= 0) return this.#free.splice(i, 1)[0]!.local;
    const local = this.code.local(type);
    this.#all.push({ type, local });
    return local;
  }
  /** All locals may be used again: the next instruction begins. */
  release() {
    this.#free.splice(0, this.#free.length, ...this.#all);
  }
  pc() {
    this.code.get(this.cpu);
    this.code.memory("i64.load", AT.pcDelta);
    this.code.get(this.record);
    this.code.i32(2);
    this.code.op("i32.shr_u");
    this.code.op("i64.extend_i32_u");
    this.code.op("i64.add");
  }
  storePc() {
    this.code.get(this.cpu);
    this.pc();
    this.code.memory("i64.store", AT.pc);
  }
  abstract next(): void;
  abstract branch(offset: () => void): void;
  abstract refetch(): void;
  abstract endIfStatus(): void;
}

/** A handler inside the main function. */
class InlineFrame extends RecordFrame {
  readonly cpu = 0;
  constructor(
    code: Code,
    readonly record: number,
    readonly callees: Callees,
    readonly labels: Labels,
    readonly status: number,
  ) {
    super(code);
  }
  near = false;
  next() {
    const { code } = this;
    code.get(this.record);
    code.i32(RECORD_BYTES);
    code.op("i32.add");
    code.set(this.record);
    code.br(this.labels.loop);
  }
  branch(offset: () => void) {
    const { code, record } = this;
    if (!this.near) {
      code.get(this.cpu);
      this.pc();
      offset();
      code.op("i64.extend_i32_s");
      code.op("i64.add");
      code.memory("i64.store", AT.pc);
      return this.refetch();
    }
    // A near branch's operand is the distance in records: limit moves along with the record, less the one executed.
    const distance = this.local("i32"), limit = this.local("i32");
    offset();
    code.tee(distance);
    code.get(record);
    code.op("i32.add");
    code.set(record);
    code.get(this.cpu);
    code.get(this.cpu);
    code.memory("i32.load", AT.limit);
    code.get(distance);
    code.op("i32.add");
    code.i32(RECORD_BYTES);
    code.op("i32.sub");
    code.tee(limit);
    code.memory("i32.store", AT.limit);
    code.get(limit);
    code.get(record);
    code.op("i32.gt_s");
    code.br(this.labels.loop, "br_if");
    code.br(this.labels.exhausted);
  }
  refetch() {
    this.code.br(this.labels.refetch);
  }
  endIfStatus() {
    this.code.tee(this.status);
    this.code.br(this.labels.status, "br_if");
  }
}
/** Block depths in the main function. */
interface Labels {
  loop: number;
  refetch: number;
  status: number;
  exhausted: number;
}

/** A handler that is a function of its own: (cpu, record) → status. */
class FunctionFrame extends RecordFrame {
  readonly cpu = 0;
  readonly record = 1;
  constructor(code: Code, readonly callees: Callees, readonly status: number, readonly near: boolean) {
    super(code);
  }
  next() {
    this.code.i32(0);
    this.code.op("return");
  }
  branch(offset: () => void) {
    const { code } = this;
    code.get(this.cpu);
    this.pc();
    offset();
    if (this.near) {
      code.i32(2);
      code.op("i32.shr_s");
    }
    code.op("i64.extend_i32_s");
    code.op("i64.add");
    code.memory("i64.store", AT.pc);
    this.refetch();
  }
  refetch() {
    this.code.i32(1);
    this.code.op("return");
  }
  endIfStatus() {
    const { code } = this;
    code.tee(this.status);
    code.block("if");
    code.get(this.status);
    code.op("return");
    code.end();
  }
}

/** SIMD and floating-point instructions first see whether they are trapped. */
function emitWithFpCheck(code: Code, frame: RecordFrame, shape: Shape, ir: Builder) {
  if (shape.definition.usesFp) {
    code.get(frame.cpu);
    code.memory("i32.load", AT.fpTrap);
    code.hintedIf(false);
    frame.storePc();
    code.get(frame.cpu);
    code.call(frame.callees.helper("fpTrapped"));
    frame.endIfStatus();
    code.end();
  }
  emitInstruction(code, frame, ir);
}
function irOf(shape: Shape): Builder {
  return instantiate(shape.definition, shape.word, "interpret", shape.is31);
}

/** The generated interpreter over one memory. */
export class Interpreter {
  /** Runs vCPU `cpu` from state.pc for up to state.budget instructions; see EXIT. */
  readonly run: (cpu: number) => number;
  readonly #numbers = new Map<string, number>();
  readonly #shapes = new Map<number, Shape>();
  readonly #handlers: WebAssembly.Table;
  readonly #imports: WebAssembly.Imports;
  readonly #pages: number;
  #next: number;

  /** With `profileAt`, u32 counters from that address on count how often each out-of-line handler is called. */
  constructor(memory: WebAssembly.Memory, imports: Imports, inline: readonly Shape[], profileAt?: number) {
    this.#pages = memory.buffer.byteLength / 65536;
    this.#handlers = new WebAssembly.Table({ element: "anyfunc", initial: TABLE_SIZE });
    this.#imports = { env: { memory, handlers: this.#handlers, ...imports } };
    inline.forEach((shape, i) => this.#name(shape, HANDLER.FIRST + i));
    this.#next = HANDLER.FIRST + inline.length;
    const instance = new WebAssembly.Instance(
      new WebAssembly.Module(buildMain(this.#pages, inline, profileAt)),
      this.#imports,
    );
    this.run = instance.exports["run"] as (cpu: number) => number;
    Object.assign(this.#imports["env"]!, {
      slowRead: instance.exports["slowRead"],
      slowWrite: instance.exports["slowWrite"],
    });
  }
  #name(shape: Shape, number: number) {
    this.#numbers.set(shape.key, number);
    this.#shapes.set(number, shape);
  }
  /** The handler numbers of `shapes`; those met for the first time are generated in one module. */
  handlerNumbers(shapes: readonly Shape[]): number[] {
    const fresh: Shape[] = [];
    for (const shape of shapes) {
      if (this.#numbers.has(shape.key)) continue;
      assert(this.#next < TABLE_SIZE, "the handler table is full");
      this.#name(shape, this.#next++);
      fresh.push(shape);
    }
    if (fresh.length) {
      const bytes = buildHandlers(this.#pages, fresh, (shape) => this.#numbers.get(shape.key)!);
      new WebAssembly.Instance(new WebAssembly.Module(bytes), this.#imports);
    }
    return shapes.map((shape) => this.#numbers.get(shape.key)!);
  }
  /** Every shape that has a handler, with the handler's number. */
  get shapes(): ReadonlyMap<number, Shape> {
    return this.#shapes;
  }
}

function buildHandlers(pages: number, shapes: readonly Shape[], number: (s: Shape) => number): Uint8Array<ArrayBuffer> {
  const linker = new Linker([...HELPER_NAMES, "slowRead", "slowWrite"], pages, true);
  for (const shape of shapes) {
    const code = new Code(["i32", "i32"], ["i32"]),
      frame = new FunctionFrame(code, linker.callees, code.local("i32"), shape.near);
    emitWithFpCheck(code, frame, shape, irOf(shape));
    code.op("unreachable");
    linker.module.element(number(shape), linker.module.add(code));
  }
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

function buildMain(pages: number, inline: readonly Shape[], profileAt?: number): Uint8Array<ArrayBuffer> {
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
    emitWithFpCheck(code, frame, shape, irOf(shape));
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
    finish(0);
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
