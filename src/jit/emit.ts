// IR → Wasm for one instruction. The same code serves handlers inside the interpreter's main function and handlers that
// stand alone; a `Frame` says how each continues. The translator will supply a third frame.

import { assert } from "../base/errors.ts";
import { SP_OFFSET, VCPU } from "../cpu/vcpu.ts";
import {
  type AccessOptions,
  type Block,
  type Builder,
  type Effect,
  Expr,
  type Int,
  type Reg,
  type Slot,
  type Type,
  type VReg,
} from "../isa/ir.ts";
import { type HelperName, HELPERS } from "../isa/helpers.ts";
import { VCPU_BLOCK, WATCH_AREA, WATCH_BYTES } from "../memory/host_map.ts";
import { ACCESS } from "../mmu/access_flags.ts";
import type { Code, ValueType } from "../wasm/module.ts";

const AT = VCPU.offset;

/** Function indices of what generated code calls. */
export interface Callees {
  /** (cpu, record, va, desc) → host address, or 0 after a fault. */
  readonly slowRead: number;
  readonly slowWrite: number;
  readonly helper: (name: HelperName) => number;
}

/** Numbers of the vCPU's watched ranges that accesses are compared with: those that touch one take the slow path. */
export interface Watches {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}
export const NOTHING_WATCHED: Watches = { reads: [], writes: [] };

/** How an instruction goes on from where it is emitted. */
export interface Frame {
  readonly cpu: number;
  readonly record: number;
  readonly callees: Callees;
  readonly watches: Watches;
  /** A local that nothing else uses until the instruction ends. */
  local(type: ValueType): number;
  /** Pushes the instruction's address (i64). */
  pc(): void;
  /** To the next instruction. */
  next(): void;
  /** To a branch target at `offset` (an i32 expression): inside the page, or anywhere. */
  branch(offset: () => void): void;
  /** To the address in state.pc, which has been stored. */
  refetch(): void;
  /** Takes an i32 from the stack: where it is not zero, the instruction ends with that status. */
  endIfStatus(): void;
}

/** Emits all of an instruction's semantics. */
export function emitInstruction(code: Code, frame: Frame, ir: Builder) {
  new Emitter(code, frame, ir).emit();
}

class Emitter {
  readonly #uses = new Map<Expr, number>();
  /** Expressions that already are in locals, by open block. */
  readonly #scopes: Map<Expr, number>[] = [new Map()];
  readonly #temps = new Map<number, number>();

  constructor(readonly code: Code, readonly frame: Frame, readonly ir: Builder) {}

  emit() {
    const { ir } = this;
    for (const e of [...ir.effects, ...ir.writes]) this.#countEffect(e);
    let end: Effect | undefined;
    for (const e of ir.effects) {
      if (e.kind === "branch" || e.kind === "jump") {
        assert(!end, "one branch per instruction");
        end = e;
      } else this.#effect(e);
    }
    this.#writes();
    if (end?.kind === "jump") {
      this.code.get(this.frame.cpu);
      this.#value(end.target);
      this.code.memory("i64.store", AT.pc);
      this.frame.refetch();
      return;
    }
    if (end?.kind === "branch") {
      const { condition, offset } = end;
      const taken = () => this.frame.branch(() => this.#value(offset));
      if (!condition) return taken();
      this.#value(condition);
      this.code.block("if");
      taken();
      this.code.end();
    }
    this.frame.next();
  }

  // ---- how often an expression is used decides whether it gets a local

  #count(x: Expr) {
    const n = this.#uses.get(x) ?? 0;
    this.#uses.set(x, n + 1);
    if (n) return;
    if (x.node.op === "wasm") { for (const a of x.node.args) this.#count(a); }
    if (x.node.op === "sysreg") this.#count(x.node.offset);
  }
  #countEffect(e: Effect) {
    switch (e.kind) {
      case "load":
      case "rmwAddress":
        return this.#count(e.address);
      case "store":
        this.#count(e.address);
        return this.#count(e.value);
      case "atomic":
        this.#count(e.host);
        return e.args.forEach((a) => this.#count(a));
      case "hostLoad":
        return this.#count(e.host);
      case "hostStore":
        this.#count(e.host);
        return this.#count(e.value);
      case "choose":
        this.#count(e.condition);
        for (const b of [e.then, e.else]) {
          b.effects.forEach((x) => this.#countEffect(x));
          if (b.value) this.#count(b.value);
        }
        return;
      case "helper":
        return e.args.forEach((a) => this.#count(a));
      case "branch":
        this.#count(e.offset);
        if (e.condition) this.#count(e.condition);
        return;
      case "jump":
        return this.#count(e.target);
      case "setSysreg":
        this.#count(e.offset);
        return this.#count(e.value);
      case "checkSp":
        return;
      default:
        this.#count(e.value);
    }
  }

  // ---- expressions: each leaves one value on the stack

  #value(x: Expr) {
    const { code } = this, { node } = x;
    for (const scope of this.#scopes) {
      const local = scope.get(x);
      if (local !== undefined) return code.get(local);
    }
    switch (node.op) {
      case "const":
        if (x.type === "i32") code.i32(Number(BigInt.asIntN(32, node.value)));
        else if (x.type === "i64") code.i64(node.value);
        else code.v128(node.value);
        return;
      case "temp":
        return code.get(this.#temp(node.id, x.type));
      case "slot":
        return this.#slot(node.slot);
      case "pc":
        this.frame.pc();
        break;
      case "x":
        this.#registerAccess(node.reg, x.type === "i32" ? "i32.load" : "i64.load");
        break;
      case "v":
        this.#vectorAccess(node.reg, 0, node.bits === 128 ? "v128.load" : `v128.load${node.bits}_zero`);
        break;
      case "v64":
        this.#vectorAccess(node.reg, node.part * 8, "i64.load");
        break;
      case "state":
        code.get(this.frame.cpu);
        code.memory(x.type === "i32" ? "i32.load" : "i64.load", AT[node.field]);
        break;
      case "sysreg":
        code.get(this.frame.cpu);
        this.#value(node.offset);
        code.op("i32.add");
        code.memory("i64.load", 0);
        break;
      case "wasm":
        for (const a of node.args) this.#value(a);
        code.op(node.name);
        if (node.imm) code.bytes(node.imm);
        break;
    }
    if (this.#uses.get(x)! > 1) {
      const local = this.frame.local(x.type);
      this.#scopes.at(-1)!.set(x, local);
      code.tee(local);
    }
  }
  #slot({ offset, kind }: Slot) {
    this.code.get(this.frame.record);
    this.code.memory(kind === "u16" ? "i32.load16_u" : kind === "i32" ? "i32.load" : "i64.load", offset);
  }
  #temp(id: number, type: Type): number {
    let local = this.#temps.get(id);
    if (local === undefined) this.#temps.set(id, local = this.frame.local(type));
    return local;
  }
  /** Pushes the address base of a register; returns the static offset that belongs to it. */
  #registerBase(reg: Reg): number {
    this.code.get(this.frame.cpu);
    if (typeof reg.place === "number") return AT.x + reg.place * 8;
    this.#slot(reg.place);
    this.code.op("i32.add");
    return AT.x + reg.plus * 8;
  }
  #registerAccess(reg: Reg, load: string) {
    const offset = this.#registerBase(reg);
    this.code.memory(load, offset);
  }
  #vectorBase({ place, plus }: VReg): number {
    const { code } = this;
    code.get(this.frame.cpu);
    if (typeof place === "number") return AT.v + place * 16;
    this.#slot(place);
    if (plus) {
      code.i32(plus * 16);
      code.op("i32.add");
      code.i32(32 * 16 - 1);
      code.op("i32.and");
    }
    code.op("i32.add");
    return AT.v;
  }
  #vectorAccess(reg: VReg, part: number, load: string) {
    const offset = this.#vectorBase(reg);
    this.code.memory(load, offset + part);
  }

  // ---- effects

  #block(block: Block): void {
    this.#scopes.push(new Map());
    for (const e of block.effects) this.#effect(e);
    if (block.value) this.#value(block.value);
    this.#scopes.pop();
  }
  #effect(e: Effect) {
    const { code, frame } = this;
    switch (e.kind) {
      case "let":
        this.#value(e.value);
        return code.set(this.#temp(e.temp, e.value.type));
      case "load": {
        this.#hostAddress(e.address, e.bytes, e.options, "read");
        code.memory(LOAD[e.bytes]!, 0);
        return code.set(this.#temp(e.temp, e.bytes === 16 ? "v128" : "i64"));
      }
      case "store": {
        const value = frame.local(e.value.type);
        this.#value(e.value);
        code.set(value);
        this.#hostAddress(e.address, e.bytes, e.options, "write", value);
        code.get(value);
        return code.memory(STORE[e.bytes]!, 0);
      }
      case "rmwAddress":
        this.#hostAddress(e.address, e.bytes, { aligned: true }, "rmw");
        return code.set(this.#temp(e.temp, "i32"));
      case "atomic": {
        this.#value(e.host);
        for (const a of e.args) this.#value(a);
        const bits = e.bytes * 8;
        code.memory(
          bits === 64 ? `i64.atomic.rmw.${e.name}` : `i64.atomic.rmw${bits}.${e.name}_u`,
          0,
          Math.log2(e.bytes),
        );
        return code.set(this.#temp(e.temp, "i64"));
      }
      case "hostLoad":
        this.#value(e.host);
        code.memory(LOAD[e.bytes]!, 0);
        return code.set(this.#temp(e.temp, "i64"));
      case "hostStore":
        this.#value(e.host);
        this.#value(e.value);
        return code.memory(STORE[e.bytes]!, 0);
      case "setState":
        code.get(frame.cpu);
        this.#value(e.value);
        return code.memory(e.value.type === "i32" ? "i32.store" : "i64.store", AT[e.field]);
      case "setSysreg":
        code.get(frame.cpu);
        this.#value(e.offset);
        code.op("i32.add");
        this.#value(e.value);
        return code.memory("i64.store", 0);
      case "orState":
        code.get(frame.cpu);
        code.get(frame.cpu);
        code.memory("i32.load", AT[e.field]);
        this.#value(e.value);
        code.op("i32.or");
        return code.memory("i32.store", AT[e.field]);
      case "choose":
        this.#value(e.condition);
        if (e.likely === undefined) code.block("if", e.type);
        else code.hintedIf(e.likely, e.type);
        this.#block(e.then);
        if (e.else.value || e.else.effects.length) {
          code.else();
          this.#block(e.else);
        }
        code.end();
        if (e.temp !== undefined) code.set(this.#temp(e.temp, e.type!));
        return;
      case "helper": {
        const { result } = HELPERS[e.name];
        this.#storePc();
        code.get(frame.cpu);
        for (const a of e.args) this.#value(a);
        code.call(frame.callees.helper(e.name));
        if (result === "status") frame.endIfStatus();
        else if (result !== "none") code.set(this.#temp(e.temp!, result));
        return;
      }
      case "checkSp":
        code.get(frame.cpu);
        code.memory("i32.load", AT.x + SP_OFFSET);
        code.i32(15);
        code.op("i32.and");
        code.hintedIf(false);
        this.#storePc();
        code.get(frame.cpu);
        code.call(frame.callees.helper("spAlignment"));
        frame.endIfStatus();
        return code.end();
      default:
        assert(false, `effect ${e.kind} in the middle of an instruction`);
    }
  }
  #storePc() {
    this.code.get(this.frame.cpu);
    this.frame.pc();
    this.code.memory("i64.store", AT.pc);
  }

  /** Leaves the host address of guest memory at `address` on the stack: the software TLB, else the slow path. */
  #hostAddress(address: Int, bytes: number, options: AccessOptions, kind: "read" | "write" | "rmw", value?: number) {
    const { code, frame } = this;
    const va = frame.local("i64"), entry = frame.local("i32");
    const tlb = kind === "read" ? VCPU_BLOCK.readTlb : VCPU_BLOCK.writeTlb;
    this.#value(address);
    code.tee(va);
    code.op("i32.wrap_i64");
    code.i32(8);
    code.op("i32.shr_u");
    code.i32(0xfff0);
    code.op("i32.and");
    code.get(frame.cpu);
    code.op("i32.add");
    code.tee(entry);
    code.memory("i64.load", tlb);
    code.get(va);
    if (bytes > 1 && !options.aligned) {
      code.i64(BigInt(bytes - 1));
      code.op("i64.add");
    }
    code.i64(~0xfffn);
    code.op("i64.and");
    code.get(frame.cpu);
    code.memory("i64.load", options.unprivileged ? AT.contextUnprivileged : AT.context);
    code.op("i64.or");
    code.op("i64.eq");
    if (options.aligned && bytes > 1) {
      code.get(va);
      code.op("i32.wrap_i64");
      code.i32(bytes - 1);
      code.op("i32.and");
      code.op("i32.eqz");
      code.op("i32.and");
    }
    const { reads, writes } = frame.watches;
    for (const range of kind === "read" ? reads : writes) this.#notWatched(va, bytes, range);
    code.hintedIf(true, "i32");
    code.get(va);
    code.op("i32.wrap_i64");
    code.get(entry);
    code.memory("i32.load", tlb + 8);
    code.op("i32.add");
    code.else();
    if (value !== undefined) {
      code.get(frame.cpu);
      code.get(value);
      code.memory(bytes === 16 ? "v128.store" : "i64.store", AT.transfer);
    }
    const desc = bytes | (options.unprivileged ? ACCESS.UNPRIVILEGED : 0) | (options.aligned ? ACCESS.ALIGNED : 0) |
      ((options.element ?? 0) << ACCESS.ELEMENT_SHIFT) |
      (kind === "rmw" ? ACCESS.RMW : 0);
    code.get(frame.cpu);
    code.get(frame.record);
    code.get(va);
    code.i32(desc);
    code.call(kind === "read" ? frame.callees.slowRead : frame.callees.slowWrite);
    code.tee(entry);
    code.op("i32.eqz");
    code.hintedIf(false);
    frame.refetch();
    code.end();
    code.get(entry);
    code.end();
  }

  /**
   * Combines the condition on the stack with: the access does not touch watched range `i`. One comparison says that two
   * ranges overlap. Only low words are compared, which costs least and finds tagged addresses too: the slow path looks
   * closer. Loads cost most, for their bounds checks: there is one.
   */
  #notWatched(va: number, bytes: number, i: number) {
    const { code, frame } = this, at = WATCH_AREA + i * WATCH_BYTES + Math.log2(bytes) * 8;
    const range = frame.local("i64");
    code.get(va);
    code.op("i32.wrap_i64");
    code.get(frame.cpu);
    code.memory("i64.load", at);
    code.tee(range);
    code.op("i32.wrap_i64");
    code.op("i32.sub");
    code.get(range);
    code.i64(32n);
    code.op("i64.shr_u");
    code.op("i32.wrap_i64");
    code.op("i32.ge_u");
    code.op("i32.and");
  }

  /** All values are computed before the first write, so that every read saw the old state. */
  #writes() {
    const { code, ir: { writes } } = this;
    const stores: (() => void)[] = [];
    // Addresses and values go on the stack last write first; the stores then pop them in program order.
    for (const w of writes.toReversed()) {
      switch (w.kind) {
        case "setX": {
          const offset = this.#registerBase(w.reg);
          this.#value(w.value);
          if (w.value.type === "i32") code.op("i64.extend_i32_u");
          stores.push(() => code.memory("i64.store", offset));
          break;
        }
        case "setV": {
          const offset = this.#vectorBase(w.reg);
          this.#value(w.value);
          stores.push(() => code.memory("v128.store", offset));
          break;
        }
        case "setV64": {
          const offset = this.#vectorBase(w.reg) + w.part * 8;
          this.#value(w.value);
          stores.push(() => code.memory("i64.store", offset));
          break;
        }
        case "setState":
          code.get(this.frame.cpu);
          this.#value(w.value);
          stores.push(() => code.memory(w.value.type === "i32" ? "i32.store" : "i64.store", AT[w.field]));
          break;
        default:
          assert(false, `${w.kind} is not a register write`);
      }
    }
    for (const store of stores.reverse()) store();
  }
}

const LOAD: Record<number, string> = {
  1: "i64.load8_u",
  2: "i64.load16_u",
  4: "i64.load32_u",
  8: "i64.load",
  16: "v128.load",
};
const STORE: Record<number, string> = {
  1: "i64.store8",
  2: "i64.store16",
  4: "i64.store32",
  8: "i64.store",
  16: "v128.store",
};
