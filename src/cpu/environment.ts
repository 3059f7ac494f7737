// What a vCPU needs from the rest of the machine: the owners of registers it does not compute itself, the MMU, PSCI.

import type { AddressTranslation, CacheMaintenance, TlbInvalidation } from "../arch/sysinsns.ts";
import type { SysregName } from "../arch/sysregs.ts";
import type { Tracer } from "../base/trace.ts";
import type { Vcpu } from "./core.ts";
import type { Status } from "./status.ts";

export interface Environment {
  readonly trace: Tracer;

  /**
   * Reads or writes a register whose row names an owner other than the CPU. Traps, UNDEFINED, VHE redirection and the
   * choice between ICC_ and ICV_ are already decided: `name` is the register that is really reached (and CNTPCT_EL0 for
   * CNTVCT_EL0 where the offset does not apply). After a write the CPU looks for pending interrupts by itself.
   */
  readHook(name: SysregName, vcpu: Vcpu): bigint;
  writeHook(name: SysregName, vcpu: Vcpu, value: bigint): void;

  /** A register that translations depend on was written. Must be cheap. */
  translationChanged(vcpu: Vcpu): void;
  /** The exception level, PSTATE.PAN or PSTATE.UAO changed. Must be cheap: it happens at every exception and return. */
  levelChanged(vcpu: Vcpu): void;

  /**
   * Instructions of the MMU, after their traps. A status other than CONTINUE says that a fault was taken as an exception
   * (REFETCH). `at` leaves its result in PAR_EL1.
   */
  at(vcpu: Vcpu, op: AddressTranslation, value: bigint): Status;
  tlbi(vcpu: Vcpu, op: TlbInvalidation, value: bigint): void;
  /** `lo` and `hi` are the words of the address: DC ZVA is frequent. */
  cacheOp(vcpu: Vcpu, op: CacheMaintenance, lo: number, hi: number): Status;

  /**
   * The firmware's call, arguments and result in X0..X3. `state.pc` is at the HVC or SMC: CONTINUE goes on after it, and
   * for LEAVE or REFETCH the callee has set `state.pc` (that is pc + 4 when the call returned).
   */
  psci(vcpu: Vcpu): Status;
  /** Which instruction calls PSCI; the other is UNDEFINED where the architecture has it so. */
  readonly psciConduit: "hvc" | "smc";

  /** A semihosting call, as `psci`; undefined when this level has none. Absent: HLT is UNDEFINED. */
  semihosting?(vcpu: Vcpu): Status | undefined;

  /**
   * A register of self-hosted debug was written. Must be cheap while nothing is enabled. Answers whether instructions that
   * come now may be found changed: the next one is looked up again.
   */
  debugChanged?(vcpu: Vcpu): boolean;

  /** SEV: sets the event register of every vCPU and wakes those that wait for it. */
  sendEvent(vcpu: Vcpu): void;

  /** Makes generated code of this vCPU leave at the next taken branch. */
  kick(vcpu: Vcpu): void;

  /** Instructions that the vCPU has behind it, the one at `record` included if it is in generated code; for counters. */
  retiredAt?(vcpu: Vcpu, record: number): number;

  /**
   * Told of every exception that was taken and of every exception return, for the debugger; `from` is the old level,
   * `pc` where the return instruction is.
   */
  exceptionTaken?(vcpu: Vcpu, from: number): void;
  exceptionReturned?(vcpu: Vcpu, from: number, pcLo: number, pcHi: number): void;
}
