// Classes of system registers that generated code may load or store without a call. A bit of the vCPU's `direct` word says
// whether the class can be accessed plainly at the current exception level, with the current traps and redirections; the
// CPU recomputes the word when any of those change. A clear bit is never wrong: the slow path decides.

/** Bit numbers of the vCPU's `direct` word. */
export const DIRECT = {
  /** What every exception level may access: TPIDR_EL0, reads of TPIDRRO_EL0. */
  EL0: 0,
  /** SP_EL0, at EL1 or EL2 while SP_ELx is selected. */
  SP_EL0: 1,
  /** EL1's own registers that no redirection or trap concerns: TPIDR_EL1, writes of TPIDRRO_EL0. */
  EL1: 2,
  /** EL1's registers that VHE redirects: at EL1, or at EL2 with E2H = 0. */
  EL1_REDIRECTED: 3,
  /** Reads of registers that HCR_EL2.TRVM traps. */
  EL1_VM_READ: 4,
  /** Writes of registers that HCR_EL2.TVM traps. */
  EL1_VM_WRITE: 5,
  /** EL2's registers, at EL2. */
  EL2: 6,
  /** The _EL12 names, at EL2 with E2H = 1. */
  EL12: 7,
  /** DC ZVA is not trapped or disabled (an instruction, not a register). */
  DC_ZVA: 8,
} as const;

export type DirectClass = (typeof DIRECT)[keyof typeof DIRECT];
