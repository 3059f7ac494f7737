// Faults of translations and memory accesses as values. The exception that follows from one is the CPU's business.

/** Fault status codes, DDI 0487 ISS encoding for Data Aborts, DFSC. The first four and EXTERNAL_WALK add the level. */
export const FAULT = {
  ADDRESS_SIZE: 0x00,
  TRANSLATION: 0x04,
  ACCESS_FLAG: 0x08,
  PERMISSION: 0x0c,
  EXTERNAL: 0x10,
  EXTERNAL_WALK: 0x14,
  ALIGNMENT: 0x21,
  /** IMPLEMENTATION DEFINED fault (Unsupported Exclusive or Atomic access). */
  UNSUPPORTED_ATOMIC: 0x35,
} as const;

/** In place of a fault status code: there is no fault. */
export const NO_FAULT = -1;

/** What a faulting access was. */
export const ACCESS = { READ: 0, WRITE: 1, FETCH: 2 } as const;
export type Access = typeof ACCESS[keyof typeof ACCESS];

/** A fault of an access, complete but for the exception level it goes to. One object per MMU is used again and again. */
export interface Fault {
  /** Fault status code, with the level. */
  fsc: number;
  /** The stage that faulted. A stage 2 fault is taken to EL2. */
  stage: 1 | 2;
  level: number;
  /** The stage 2 fault belongs to the walk of stage 1. */
  s1ptw: boolean;
  /** An instruction fetch; otherwise a data access. */
  fetch: boolean;
  /** ESR_ELx.WnR. */
  write: boolean;
  /** Cache maintenance or address translation instruction: ESR_ELx.CM. */
  maintenance: boolean;
  /** FAR_ELx. */
  vaLo: number;
  vaHi: number;
  /** For stage 2: the intermediate physical address, for HPFAR_EL2 (its bits 47 to 12). */
  ipa: number;
  /** Bits 24 to 14 of ESR_EL2.ISS: the instruction syndrome of a stage 2 data abort, 0 when it is not valid. */
  syndrome: number;
}

export const newFault = (): Fault => ({
  fsc: NO_FAULT,
  stage: 1,
  level: 0,
  s1ptw: false,
  fetch: false,
  write: false,
  maintenance: false,
  vaLo: 0,
  vaHi: 0,
  ipa: 0,
  syndrome: 0,
});

/** Who turns faults into exceptions: the CPU. After each of these state.pc is the exception's vector. */
export interface FaultSink {
  dataAbort(fault: Fault): void;
  instructionAbort(fault: Fault): void;
  pcAlignmentFault(): void;
}
