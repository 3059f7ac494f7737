// One vCPU: views of its state in shared memory, its model, and what is derived from its control registers. The functions
// that act on it are in pstate.ts, exceptions.ts and sysreg_access.ts.

import type { CpuModel } from "../arch/models.ts";
import { REGISTERS, SYSREG_NAMES, SYSREGS_OFFSET, SYSTEM_REGISTERS, type SystemRegisters } from "../arch/sysregs.ts";
import { type Counters, countersAt } from "./counters.ts";
import type { Environment } from "./environment.ts";
import { recomputeControls } from "./pstate.ts";
import { noteStepEnable } from "./self_hosted_debug.ts";
import { type AccessTable, compileAccess } from "./sysreg_table.ts";
import { HALT, PENDING, VCPU, type VcpuState } from "./vcpu.ts";

/** Room for derived values: one per exception level and stack pointer selection. */
const SELECTIONS = 6;

export class Vcpu {
  readonly state: VcpuState;
  readonly sys: SystemRegisters;
  /** The general-purpose registers as words: low half of X<n> at 2n. */
  readonly xWords: Uint32Array;
  /** The system registers as words. */
  readonly sysWords: Uint32Array;
  readonly counters: Counters;
  /** What the encodings of system registers mean to this model. */
  readonly access: AccessTable;
  readonly hasEl2: boolean;
  readonly hasPan: boolean;
  readonly hasUao: boolean;
  readonly hasRas: boolean;
  /** Values of `state.direct` by 2 * EL + SPSel, and of `state.fpTrap` by EL: follow from the control registers. */
  readonly directFor: Uint32Array = new Uint32Array(SELECTIONS);
  readonly fpTrapFor: Uint32Array = new Uint32Array(3);

  /** `base` is the byte address of the vCPU's block in `buffer`. */
  constructor(
    readonly buffer: ArrayBufferLike,
    readonly base: number,
    readonly index: number,
    readonly model: CpuModel,
    readonly environment: Environment,
  ) {
    this.state = VCPU.at(buffer, base);
    this.sys = SYSTEM_REGISTERS.at(buffer, base + SYSREGS_OFFSET) as SystemRegisters;
    this.xWords = new Uint32Array(buffer, base + VCPU.offset.x, 68);
    this.sysWords = new Uint32Array(buffer, base + SYSREGS_OFFSET, SYSTEM_REGISTERS.size / 4);
    this.counters = countersAt(buffer, base);
    this.access = compileAccess(model);
    this.hasEl2 = model.has("el2");
    this.hasPan = model.has("FEAT_PAN");
    this.hasUao = model.has("FEAT_UAO");
    this.hasRas = model.has("FEAT_RAS");
  }

  /** Makes generated code leave at the next taken branch, to look at `state.pending`. */
  kick(): void {
    this.environment.kick(this);
  }

  /** Asserts or releases lines of `PENDING`, and sees to it that an interrupt is taken promptly. */
  setPending(bits: number, level: boolean): void {
    const before = this.state.pending, after = level ? before | bits : before & ~bits;
    this.state.pending = after;
    if ((after & ~before) !== 0) this.kick();
  }

  /**
   * The state after a warm reset, running: at the highest exception level with its stack pointer, interrupts masked.
   * Everything that is architecturally UNKNOWN is zero. The caller sets `state.pc` and arguments. The count of retired
   * instructions goes on.
   */
  reset(): void {
    const { state, sys, model } = this, { pending, retired } = state;
    state.bytes.fill(0);
    sys.bytes.fill(0);
    state.retired = retired;
    // The lines are the state of the interrupt controller, not the CPU's.
    state.pending = pending & ~(PENDING.SERROR | PENDING.VSERROR);
    for (const name of SYSREG_NAMES) {
      const row = REGISTERS[name];
      sys[name] = model.values[name] ?? (row.reset ?? 0n) | (row.write === undefined ? 0n : row.layout.res1);
    }
    const mpidr = 0x8000_0000n | BigInt(this.index & 15) | BigInt(this.index >> 4) << 8n;
    sys.MPIDR_EL1 = sys.VMPIDR_EL2 = mpidr;
    sys.VPIDR_EL2 = sys.MIDR_EL1;
    state.el = this.hasEl2 ? 2 : 1;
    state.spsel = 1;
    state.daif = 15;
    // zf holds a result: not zero, so that Z is clear.
    state.zf = 1n;
    state.halt = HALT.RUNNING;
    this.refresh();
  }

  /** Recomputes what is derived from registers, after they were replaced from outside (reset, snapshot, debugger). */
  refresh(): void {
    recomputeControls(this);
    noteStepEnable(this);
    this.environment.debugChanged?.(this);
  }
}
