// The system instructions with op0 = 1 and CRn = 7 or 8: cache maintenance, address translation, TLB invalidation (DDI 0487
// "A64 System instructions ..."). Each is declared once: encoding, lowest exception level, traps in pseudocode order.

import { assert } from "../base/errors.ts";
import type { Feature } from "./features.ts";
import { type El, type Encoding, sysregKey } from "./sysreg.ts";
import type { TrapName } from "./traps.ts";

interface Row {
  readonly kind: "cache" | "at" | "tlbi";
  readonly at: Encoding;
  /** Lowest exception level that may execute it. */
  readonly el: El;
  readonly traps: readonly TrapName[];
  readonly feature?: Feature;
}

const dc = (op1: number, CRm: number, op2: number, el: El, traps: readonly TrapName[], feature?: Feature): Row => ({
  kind: "cache",
  at: [1, op1, 7, CRm, op2],
  el,
  traps,
  ...(feature ? { feature } : {}),
});
const at = (op1: number, CRm: number, op2: number, feature?: Feature): Row => ({
  kind: "at",
  at: [1, op1, 7, CRm, op2],
  el: op1 === 4 ? 2 : 1,
  traps: [],
  ...(feature ? { feature } : {}),
});
const tlbi = (op1: number, CRm: number, op2: number): Row => ({
  kind: "tlbi",
  at: [1, op1, 8, CRm, op2],
  el: op1 === 4 ? 2 : 1,
  traps: op1 === 0 ? ["TTLB"] : [],
});

const CACHE = {
  IC_IALLUIS: dc(0, 1, 0, 1, ["TPU"]),
  IC_IALLU: dc(0, 5, 0, 1, ["TPU"]),
  IC_IVAU: dc(3, 5, 1, 0, ["UCI", "TPU"]),
  DC_IVAC: dc(0, 6, 1, 1, ["TPC"]),
  DC_ISW: dc(0, 6, 2, 1, ["TSW"]),
  DC_CSW: dc(0, 10, 2, 1, ["TSW"]),
  DC_CISW: dc(0, 14, 2, 1, ["TSW"]),
  DC_ZVA: dc(3, 4, 1, 0, ["DZE", "TDZ"]),
  DC_CVAC: dc(3, 10, 1, 0, ["UCI", "TPC"]),
  DC_CVAU: dc(3, 11, 1, 0, ["UCI", "TPU"]),
  DC_CVAP: dc(3, 12, 1, 0, ["UCI", "TPC"], "FEAT_DPB"),
  DC_CIVAC: dc(3, 14, 1, 0, ["UCI", "TPC"]),
} as const;

const AT = {
  S1E1R: at(0, 8, 0),
  S1E1W: at(0, 8, 1),
  S1E0R: at(0, 8, 2),
  S1E0W: at(0, 8, 3),
  S1E1RP: at(0, 9, 0, "FEAT_PAN2"),
  S1E1WP: at(0, 9, 1, "FEAT_PAN2"),
  S1E2R: at(4, 8, 0),
  S1E2W: at(4, 8, 1),
  S12E1R: at(4, 8, 4),
  S12E1W: at(4, 8, 5),
  S12E0R: at(4, 8, 6),
  S12E0W: at(4, 8, 7),
} as const;

const TLBI = {
  VMALLE1IS: tlbi(0, 3, 0),
  VAE1IS: tlbi(0, 3, 1),
  ASIDE1IS: tlbi(0, 3, 2),
  VAAE1IS: tlbi(0, 3, 3),
  VALE1IS: tlbi(0, 3, 5),
  VAALE1IS: tlbi(0, 3, 7),
  VMALLE1: tlbi(0, 7, 0),
  VAE1: tlbi(0, 7, 1),
  ASIDE1: tlbi(0, 7, 2),
  VAAE1: tlbi(0, 7, 3),
  VALE1: tlbi(0, 7, 5),
  VAALE1: tlbi(0, 7, 7),
  IPAS2E1IS: tlbi(4, 0, 1),
  IPAS2LE1IS: tlbi(4, 0, 5),
  ALLE2IS: tlbi(4, 3, 0),
  VAE2IS: tlbi(4, 3, 1),
  ALLE1IS: tlbi(4, 3, 4),
  VALE2IS: tlbi(4, 3, 5),
  VMALLS12E1IS: tlbi(4, 3, 6),
  IPAS2E1: tlbi(4, 4, 1),
  IPAS2LE1: tlbi(4, 4, 5),
  ALLE2: tlbi(4, 7, 0),
  VAE2: tlbi(4, 7, 1),
  ALLE1: tlbi(4, 7, 4),
  VALE2: tlbi(4, 7, 5),
  VMALLS12E1: tlbi(4, 7, 6),
} as const;

export type CacheMaintenance = keyof typeof CACHE;
export type AddressTranslation = keyof typeof AT;
export type TlbInvalidation = keyof typeof TLBI;

export type SystemInstruction =
  & Pick<Row, "el" | "traps" | "feature">
  & (
    | { readonly kind: "cache"; readonly op: CacheMaintenance }
    | { readonly kind: "at"; readonly op: AddressTranslation }
    | { readonly kind: "tlbi"; readonly op: TlbInvalidation }
  );

function byKey(): ReadonlyMap<number, SystemInstruction> {
  const map = new Map<number, SystemInstruction>();
  for (const [op, row] of Object.entries<Row>({ ...CACHE, ...AT, ...TLBI })) {
    const key = sysregKey(row.at);
    assert(!map.has(key), `${op} has an encoding of its own`);
    map.set(key, { ...row, op } as SystemInstruction);
  }
  return map;
}

/** All system instructions, by `sysregKey`. */
export const SYSTEM_INSTRUCTIONS = byKey();
