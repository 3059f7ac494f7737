// The instruction syndrome of a stage 2 data abort (ESR_EL2.ISS bits 24 to 14: ISV, SAS, SSE, SRT, SF, AR), from the
// instruction word. DDI 0487 "ISS encoding for an exception from a Data Abort": valid for loads and stores of a single
// general-purpose register, acquire and release included, without writeback, and not for exclusives, pairs, atomics and SIMD.

const ISV = 1 << 10;
const syndrome = (size: number, signed: boolean, rt: number, sf: boolean, acquireRelease: boolean): number =>
  ISV | size << 8 | (signed ? 1 << 7 : 0) | rt << 2 | (sf ? 2 : 0) | (acquireRelease ? 1 : 0);

/** Bits 24 to 14 of the ISS for the load or store `word`; 0 when the syndrome is not valid. */
export function instructionSyndrome(word: number): number {
  const size = word >>> 30, rt = word & 31, opc = (word >>> 22) & 3;
  // Load/store exclusive and ordered: LDAR, STLR, LDLAR, STLLR have o2 = 1, o1 = 0.
  if ((word & 0x3f000000) === 0x08000000) {
    return (word & 0x00a00000) === 0x00800000 ? syndrome(size, false, rt, size === 3, true) : 0;
  }
  // LDAPR among the atomics: A = 1, R = 0, Rs = 11111, o3 = 1, opc = 100.
  if ((word & 0x3ffffc00) === 0x38bfc000) return syndrome(size, false, rt, size === 3, true);
  // Load register (literal): LDR W, LDR X, LDRSW; the fourth is PRFM.
  if ((word & 0x3f000000) === 0x18000000) {
    return size === 3 ? 0 : syndrome(size === 1 ? 3 : 2, size === 2, rt, size !== 0, false);
  }
  // Load/store register: general registers (V = 0), bits 29:27 = 111, bit 25 = 0.
  if ((word & 0x3e000000) !== 0x38000000) return 0;
  const unsignedOffset = (word & 0x01000000) !== 0;
  if (!unsignedOffset) {
    const form = (word >>> 10) & 3;
    // Bit 21 clear: unscaled (0), post-indexed (1), unprivileged (2), pre-indexed (3). Set: register offset is 2.
    if ((word & 0x00200000) === 0 ? form === 1 || form === 3 : form !== 2) return 0;
  }
  if (size === 3) return opc >= 2 ? 0 : syndrome(3, false, rt, true, false);
  if (opc < 2) return syndrome(size, false, rt, false, false);
  // Sign-extending loads: to 64 bits with opc = 2, to 32 bits with opc = 3 (not for words).
  return size === 2 && opc === 3 ? 0 : syndrome(size, true, rt, opc === 2, false);
}
