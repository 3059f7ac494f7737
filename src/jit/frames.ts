// The two ways in which an instruction goes on: as a case of the interpreter's main function, or as a function of its own.

import { VCPU } from "../cpu/vcpu.ts";
import type { Code, ValueType } from "../wasm/module.ts";
import { type Callees, emitInstruction, type Frame, NOTHING_WATCHED, type Watches } from "./emit.ts";
import { TABLE_SIZE } from "./linker.ts";
import { irOf, type Shape } from "./shape.ts";

const AT = VCPU.offset;
/** Bytes of a record. */
export const RECORD_BYTES = 16;
/** Handler numbers with a meaning of their own; MARKED is a function that asks TypeScript what to do. */
export const HANDLER = { UNDECODED: 0, PAGE_END: 1, FIRST: 2, MARKED: TABLE_SIZE - 1 } as const;
/** What `run` returns: the budget is used up (or an exit was forced), or a helper asked to leave. */
export const EXIT = { BUDGET: 0, LEAVE: 1 } as const;

/** A frame whose `record` is a local of the function and whose pc is computed from it. */
export abstract class RecordFrame implements Frame {
  watches: Watches = NOTHING_WATCHED;
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
export class InlineFrame extends RecordFrame {
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
export interface Labels {
  loop: number;
  refetch: number;
  status: number;
  exhausted: number;
}

/** A handler that is a function of its own: (cpu, record) → status. */
export class FunctionFrame extends RecordFrame {
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

/** Emits a handler. SIMD and floating-point instructions first see whether they are trapped. */
export function emitShape(code: Code, frame: RecordFrame, shape: Shape) {
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
  emitInstruction(code, frame, irOf(shape));
}
