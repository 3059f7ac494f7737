// Our execution of A64 on the same states that the oracle gets: the generated interpreter at EL0 over a data page and a code
// page at the oracle's addresses, with its signals standing for exceptions. Everything around the instructions (system
// registers, translation) is left out: helpers that belong to it end a case as `unsupported`.

import { type Feature, FEATURES } from "../../src/arch/features.ts";
import { CONTINUE, LEAVE } from "../../src/cpu/status.ts";
import { VCPU, type VcpuState } from "../../src/cpu/vcpu.ts";
import { Decoder } from "../../src/isa/decoder.ts";
import type { Definition } from "../../src/isa/define.ts";
import { HELPERS } from "../../src/isa/helpers.ts";
import { softFloatHelper } from "../../src/isa/softfloat/operations.ts";
import { CodeCache } from "../../src/jit/code_cache.ts";
import { EXIT } from "../../src/jit/frames.ts";
import { Interpreter } from "../../src/jit/interpreter.ts";
import type { Imports } from "../../src/jit/linker.ts";
import { type Shape, shapeOf } from "../../src/jit/shape.ts";
import { HOST_MAP, TLB_ENTRIES, VCPU_BLOCK, vcpuBase } from "../../src/memory/host_map.ts";
import { ACCESS } from "../../src/mmu/access_flags.ts";
import { BRK, CASE_PC, CODE_BASE, CODE_OFFSET, DATA_BASE, PAGE_BYTES, SIGNAL, type TestCase } from "./oracle.ts";

/** What a case did; `undefined` fields never occur together with a signal of the oracle. */
export interface Result {
  signal: number;
  /** A helper that this machine has no part for. */
  unsupported?: string;
  pc: bigint;
  nzcv: number;
  fpcr: number;
  fpsr: number;
  /** X0 to X30, SP. */
  x: BigUint64Array;
  v: BigUint64Array;
  data: Uint8Array;
}

export const ALL_FEATURES: ReadonlySet<Feature> = new Set(FEATURES);

const CONTEXT = 1n << 2n, BUDGET = 64;
const HOST_DATA = HOST_MAP.ram.base + 0x1_0000, HOST_CODE = HOST_MAP.ram.base + 0x2_0000;
const MEMORY_BYTES = HOST_MAP.ram.base + 0x4_0000;

/** Top byte ignored in the lower half of the address space, as Linux sets up EL0. */
const untagged = (va: bigint): bigint => va & (1n << 55n) ? va : BigInt.asUintN(56, va);

export class Engine {
  readonly decoder: Decoder;
  readonly state: VcpuState;
  /** How often an instruction needed software floating point. */
  softFloatCalls = 0;
  readonly #memory = new WebAssembly.Memory({
    initial: MEMORY_BYTES / 65536,
    maximum: MEMORY_BYTES / 65536,
    shared: true,
  });
  readonly #bytes = new Uint8Array(this.#memory.buffer);
  readonly #u32 = new Uint32Array(this.#memory.buffer);
  readonly #u64 = new BigUint64Array(this.#memory.buffer);
  readonly #base = vcpuBase(0);
  readonly #interpreter: Interpreter;
  readonly #cache: CodeCache;
  #signal = -1;
  #unsupported: string | undefined;
  /** Data accesses miss the TLB and move their value through state.transfer, as device accesses do. */
  #viaTransfer = false;

  /** `inlineWords`: their handlers lie inside the interpreter's main function. */
  constructor(definitions: readonly Definition[], features: ReadonlySet<Feature>, inlineWords: readonly number[] = []) {
    this.decoder = new Decoder(definitions, features);
    this.state = VCPU.at(this.#memory.buffer, this.#base);
    const inline = this.#shapes(inlineWords);
    this.#interpreter = new Interpreter(this.#memory, this.#imports(), inline);
    this.#cache = new CodeCache(
      this.#memory.buffer,
      this.decoder,
      this.#interpreter,
      () => this.#clearTlbs(),
      () => {},
    );
    this.#u32.fill(BRK, HOST_CODE >>> 2, (HOST_CODE + PAGE_BYTES) >>> 2);
    this.#clearTlbs();
  }

  /** Generates the handlers of `words` in one go: much faster than one by one. */
  prepare(words: Iterable<number>) {
    const shapes = this.#shapes(words);
    for (let i = 0; i < shapes.length; i += 200) this.#interpreter.handlerNumbers(shapes.slice(i, i + 200));
  }
  #shapes(words: Iterable<number>): Shape[] {
    const shapes = new Map<string, Shape>();
    for (const word of words) {
      const definition = this.decoder.decode(word);
      for (const near of definition.branches ? [true, false] : [false]) {
        const shape = shapeOf(definition, word, near);
        shapes.set(shape.key, shape);
      }
    }
    return [...shapes.values()];
  }

  run(test: TestCase, image: Uint8Array, viaTransfer = false): Result {
    const { state } = this, words = HOST_CODE + CODE_OFFSET;
    this.#bytes.set(image, HOST_DATA);
    this.#bytes.set(test.patch.subarray(0, test.patchLength), HOST_DATA + test.patchOffset);
    this.#u32.set(test.words, words >>> 2);
    this.#cache.invalidate(words, 32);
    state.x.set(test.x.subarray(0, 31));
    state.x[31] = 0n;
    state.x[32] = test.x[31]!;
    state.v.set(test.v);
    state.nf = (test.nzcv >> 31n) << 63n;
    state.zf = ((test.nzcv >> 30n) & 1n) ^ 1n;
    state.cf = (test.nzcv >> 29n) & 1n;
    state.vf = (test.nzcv >> 28n) << 63n;
    state.fpcr = test.fpcr;
    state.fpsr = test.fpsr;
    state.pc = CASE_PC;
    state.context = state.contextUnprivileged = CONTEXT;
    state.exclusiveSize = 0;
    state.budget = BUDGET;
    this.#signal = -1;
    this.#unsupported = undefined;
    if (viaTransfer !== this.#viaTransfer) this.#clearTlbs();
    this.#viaTransfer = viaTransfer;
    const exit = this.#interpreter.run(this.#base);
    if (exit !== EXIT.LEAVE) this.#unsupported ??= "loop";
    const x = new BigUint64Array(32);
    x.set(state.x.subarray(0, 31));
    x[31] = state.x[32]!;
    return {
      signal: this.#signal,
      ...(this.#unsupported ? { unsupported: this.#unsupported } : {}),
      pc: state.pc,
      nzcv: Number(state.nf >> 63n << 3n | (state.zf === 0n ? 4n : 0n) | state.cf << 1n | state.vf >> 63n),
      fpcr: state.fpcr,
      fpsr: state.fpsr,
      x,
      v: state.v.slice(),
      data: this.#bytes.slice(HOST_DATA, HOST_DATA + PAGE_BYTES),
    };
  }

  #clearTlbs() {
    const first = this.#base + VCPU_BLOCK.readTlb;
    this.#u32.fill(0xffff_ffff, first >>> 2, (first + 3 * TLB_ENTRIES * 16) >>> 2);
  }
  #wordAtPc(): number {
    return this.#u32[(HOST_CODE + Number(this.state.pc - CODE_BASE)) >>> 2]!;
  }
  #end(signal: number): typeof LEAVE {
    this.#signal = signal;
    return LEAVE;
  }
  /** A fault in an access: generated code goes on at state.pc, so that has to be somewhere that leaves at once. */
  #fault(signal: number): 0 {
    this.#signal = signal;
    this.#faultPc = this.state.pc;
    this.state.pc = CODE_BASE;
    return 0;
  }
  #faultPc = 0n;

  #imports(): Imports {
    const { state } = this;
    const table = Object.fromEntries(
      Object.keys(HELPERS).map((name) => [name, () => {
        this.#unsupported = name;
        return LEAVE;
      }]),
    ) as unknown as Imports;
    const softFloat = softFloatHelper(state);
    const ill = () => this.#end(SIGNAL.ILL);
    const brk = () => {
      // A fault before this has set the signal already.
      if (this.#signal < 0) return this.#end(SIGNAL.TRAP);
      state.pc = this.#faultPc;
      return LEAVE;
    };
    const nothing = () => CONTINUE;
    return {
      ...table,
      brk,
      // Until BRK is defined the one behind the case is undefined.
      undefined: () => this.#wordAtPc() === BRK ? brk() : ill(),
      hvc: ill,
      smc: ill,
      eret: ill,
      hlt: ill,
      sev: nothing,
      sevl: nothing,
      softFloat: (_cpu: number, operation: number, a: bigint, b: bigint, c: bigint) => {
        this.softFloatCalls++;
        return softFloat(operation, a, b, c);
      },
      dataRead: (_cpu, lo, hi, desc) => this.#access(lo, hi, desc, false),
      dataWrite: (_cpu, lo, hi, desc) => this.#access(lo, hi, desc, true),
      fetch: () => this.#fetch(),
      predecode: (_cpu, record) => this.#cache.predecode(record >>> 0),
    };
  }

  #access(lo: number, hi: number, desc: number, isWrite: boolean): number {
    const { state } = this, va = untagged((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)), bytes = desc & ACCESS.SIZE;
    if (desc & ACCESS.ALIGNED && (lo & (bytes - 1)) !== 0) return this.#fault(SIGNAL.BUS);
    const inPage = (lo >>> 0) % PAGE_BYTES, page = va - BigInt(inPage);
    if ((page !== DATA_BASE && (page !== CODE_BASE || isWrite)) || inPage + bytes > PAGE_BYTES) {
      return this.#fault(SIGNAL.SEGV);
    }
    const hostPage = page === DATA_BASE ? HOST_DATA : HOST_CODE, host = hostPage + inPage;
    if (this.#viaTransfer && !(desc & ACCESS.RMW)) {
      const transfer = state.bytes.subarray(VCPU.offset.transfer, VCPU.offset.transfer + 16);
      if (isWrite) this.#bytes.set(transfer.subarray(0, bytes), host);
      else transfer.fill(0).set(this.#bytes.subarray(host, host + bytes));
      return 1;
    }
    if (page === DATA_BASE && !this.#viaTransfer) {
      const tlb = isWrite ? VCPU_BLOCK.writeTlb : VCPU_BLOCK.readTlb;
      this.#fillTlb(tlb, page, hostPage - Number(page));
    }
    return host;
  }
  #fetch(): number {
    // AArch64.BranchAddr()
    const pc = this.state.pc = untagged(this.state.pc);
    if (pc & 3n) return this.#fault(SIGNAL.BUS);
    if (pc < CODE_BASE || pc >= CODE_BASE + BigInt(PAGE_BYTES)) return this.#fault(SIGNAL.SEGV);
    const records = this.#cache.recordsFor(HOST_CODE);
    this.#fillTlb(VCPU_BLOCK.fetchTlb, CODE_BASE, records);
    return records + Number(pc & 0xffcn) * 4;
  }
  #fillTlb(tlb: number, page: bigint, addend: number) {
    const entry = this.#base + tlb + Number((page >> 12n) & BigInt(TLB_ENTRIES - 1)) * 16;
    this.#u64[entry >>> 3] = page | CONTEXT;
    this.#u32[(entry >>> 2) + 2] = addend >>> 0;
  }
}
