// What the system registers say about address translation, decoded once per translation context: the regime, the shape
// of both ranges of stage 1 and of stage 2, and the bits that decide about permissions. The walk, the TLB, the AT
// instructions and the debugger all start from a Controls object. DDI 0487 "The AArch64 Virtual Memory System Architecture",
// as of Armv8.2 with 48-bit addresses. Left out: EL3 and Secure state, LPA (52 bits), and everything after Armv8.2.

/** The translation regimes: EL1&0, EL2, and EL2&0 (HCR_EL2.E2H = 1). */
export const REGIME = { EL10: 0, EL2: 1, EL20: 2 } as const;
export type Regime = typeof REGIME[keyof typeof REGIME];

/** The registers that translation depends on, as 32-bit halves: the system register view of a vCPU is one. */
export type TranslationRegisters = {
  [
    K in `${
      | "SCTLR_EL1"
      | "TCR_EL1"
      | "TTBR0_EL1"
      | "TTBR1_EL1"
      | "MAIR_EL1"
      | "SCTLR_EL2"
      | "TCR_EL2"
      | "TTBR0_EL2"
      | "TTBR1_EL2"
      | "MAIR_EL2"
      | "HCR_EL2"
      | "VTCR_EL2"
      | "VTTBR_EL2"}${"Lo" | "Hi"}`
  ]: number;
};

/** What the ID registers announce about translation. */
export interface Features {
  /** Whether EL2 is implemented. */
  readonly el2: boolean;
  /** Physical address size in bits: 32 to 48. */
  readonly paBits: number;
  /** Translation granules, for stage 1 and stage 2 alike. */
  readonly granule4K: boolean;
  readonly granule16K: boolean;
  readonly granule64K: boolean;
  readonly vmid16: boolean;
  readonly asid16: boolean;
  /** Hardware update of the Access flag, and of dirty state. */
  readonly accessFlagUpdate: boolean;
  readonly dirtyUpdate: boolean;
  /** Hierarchical permission disables. */
  readonly hpd: boolean;
  readonly pan: boolean;
  /** AT S1E1RP and AT S1E1WP. */
  readonly panAddressTranslation: boolean;
  /** Stage 2 execute-never for EL0 and EL1 apart. */
  readonly xnx: boolean;
}

const PHYSICAL_BITS = [32, 36, 40, 42, 44, 48, 48, 48];

/** Reads features from ID_AA64PFR0_EL1, ID_AA64MMFR0_EL1 and ID_AA64MMFR1_EL1. */
export function featuresFromId(pfr0: bigint, mmfr0: bigint, mmfr1: bigint): Features {
  const field = (value: bigint, lsb: number) => Number((value >> BigInt(lsb)) & 15n);
  return {
    el2: field(pfr0, 8) !== 0,
    paBits: PHYSICAL_BITS[field(mmfr0, 0) & 7]!,
    granule4K: field(mmfr0, 28) !== 15,
    granule16K: field(mmfr0, 20) !== 0,
    granule64K: field(mmfr0, 24) !== 15,
    vmid16: field(mmfr1, 4) >= 2,
    asid16: field(mmfr0, 4) >= 2,
    accessFlagUpdate: field(mmfr1, 0) >= 1,
    dirtyUpdate: field(mmfr1, 0) >= 2,
    hpd: field(mmfr1, 12) >= 1,
    pan: field(mmfr1, 20) >= 1,
    panAddressTranslation: field(mmfr1, 20) >= 2,
    xnx: field(mmfr1, 28) >= 1,
  };
}

/** One input range of stage 1, or stage 2. */
export class Range {
  /** False when every access is a level 0 Translation fault (EPD, or a size out of bounds). */
  valid = false;
  /** Bits of the input address that are translated, and of the granule. */
  inputBits = 0;
  granuleBits = 12;
  startLevel = 0;
  /** Address of the first table, aligned to its size; beyond the output size it gives an Address size fault. */
  table = 0;
  tableBeyond = false;
  topByteIgnored = false;
  hierarchyDisabled = false;
}

/** Bits of HCR_EL2. */
const HCR_VM = 1, HCR_PTW = 1 << 2, HCR_DC = 1 << 12, HCR_TGE = 1 << 27, HCR_CD_HI = 1, HCR_ID_HI = 2, HCR_E2H_HI = 4;
/** Bits of HCR_EL2 that change a translation, low and high word. */
const HCR_MASK = HCR_VM | HCR_PTW | HCR_DC | HCR_TGE, HCR_MASK_HI = HCR_CD_HI | HCR_ID_HI | HCR_E2H_HI;
/** Bits of SCTLR_ELx that do: M, A, C, I, WXN, EE. */
const SCTLR_MASK = 0x0208_1007;
const SCTLR_M = 1, SCTLR_A = 2, SCTLR_C = 4, SCTLR_I = 1 << 12, SCTLR_WXN = 1 << 19, SCTLR_EE = 1 << 25;
/** The only bit of SCTLR_EL2 that stage 2 sees. */
const SCTLR_EL2_MASK = SCTLR_EE;

export const KEY_WORDS = 16;

/** Who translates: the regime, from EL0 or not, with PSTATE.PAN or not. */
export interface Viewpoint {
  readonly regime: Regime;
  readonly el0: boolean;
  readonly pan: boolean;
}

export class Controls {
  readonly key: Int32Array = new Int32Array(KEY_WORDS);
  regime: Regime = REGIME.EL10;
  el0 = false;
  pan = false;
  asid = 0;
  vmid = 0;

  /** Physical address size in bits, and whether stage 2 tells EL0's execution from EL1's. */
  physicalBits = 48;
  xnx = false;

  /** Stage 1. */
  stage1 = false;
  /** Output address size in bits. */
  outputBits = 48;
  bigEndian = false;
  alignmentCheck = false;
  writeExecuteNever = false;
  dataCache = false;
  instructionCache = false;
  accessFlagUpdate = false;
  dirtyUpdate = false;
  mairLo = 0;
  mairHi = 0;
  readonly low: Range = new Range();
  readonly high: Range = new Range();

  /** Stage 2, and HCR_EL2's part in it. */
  stage2 = false;
  defaultCacheable = false;
  protectedWalk = false;
  cacheDisable = false;
  instructionCacheDisable = false;
  stage2BigEndian = false;
  stage2OutputBits = 48;
  stage2AccessFlagUpdate = false;
  stage2DirtyUpdate = false;
  readonly second: Range = new Range();
}

/** Whether HCR_EL2.{E2H,TGE} = {1,1}: applications run directly under the hypervisor. */
export const isHost = (r: TranslationRegisters): boolean =>
  (r.HCR_EL2Hi & HCR_E2H_HI) !== 0 && (r.HCR_EL2Lo & HCR_TGE) !== 0;
/** HCR_EL2.E2H. */
export const hasE2H = (r: TranslationRegisters): boolean => (r.HCR_EL2Hi & HCR_E2H_HI) !== 0;

/**
 * Gathers into `key` everything a translation depends on. Two contexts with equal keys translate alike; what the regime
 * does not look at is left out, so that it makes no difference.
 */
export function contextKey(key: Int32Array, r: TranslationRegisters, f: Features, viewpoint: Viewpoint): void {
  const { regime, el0, pan } = viewpoint;
  key.fill(0);
  key[0] = regime | (el0 ? 4 : 0) | (pan ? 8 : 0);
  if (regime === REGIME.EL10) {
    const hcr = f.el2 ? r.HCR_EL2Lo & HCR_MASK : 0, off = (hcr & (HCR_DC | HCR_TGE)) !== 0;
    const sctlr = r.SCTLR_EL1Lo & (off ? SCTLR_MASK & ~SCTLR_M : SCTLR_MASK);
    key[1] = sctlr;
    key[2] = r.TCR_EL1Lo;
    key[3] = r.TCR_EL1Hi;
    if ((sctlr & SCTLR_M) !== 0) {
      key[4] = r.TTBR0_EL1Lo;
      key[5] = r.TTBR0_EL1Hi;
      key[6] = r.TTBR1_EL1Lo;
      key[7] = r.TTBR1_EL1Hi;
      key[8] = r.MAIR_EL1Lo;
      key[9] = r.MAIR_EL1Hi;
    }
    if (f.el2) {
      key[10] = hcr;
      key[11] = r.HCR_EL2Hi & HCR_MASK_HI;
      key[12] = r.VTCR_EL2Lo;
      key[13] = r.VTTBR_EL2Lo;
      key[14] = r.VTTBR_EL2Hi;
      key[15] = r.SCTLR_EL2Lo & SCTLR_EL2_MASK;
    }
    return;
  }
  key[1] = r.SCTLR_EL2Lo & SCTLR_MASK;
  key[2] = r.TCR_EL2Lo;
  key[3] = r.TCR_EL2Hi;
  if ((key[1] & SCTLR_M) === 0) return;
  key[4] = r.TTBR0_EL2Lo;
  key[5] = r.TTBR0_EL2Hi;
  if (regime === REGIME.EL20) {
    key[6] = r.TTBR1_EL2Lo;
    key[7] = r.TTBR1_EL2Hi;
  }
  key[8] = r.MAIR_EL2Lo;
  key[9] = r.MAIR_EL2Hi;
}

const KEY = {
  flags: 0,
  sctlr: 1,
  tcrLo: 2,
  tcrHi: 3,
  ttbr0: 4,
  ttbr1: 6,
  mair: 8,
  hcrLo: 10,
  hcrHi: 11,
  vtcr: 12,
  vttbr: 13,
  sctlr2: 15,
} as const;

/** Granule size by the TG0 field (also VTCR_EL2.TG0): 4K, 64K, 16K; the reserved value counts as 4K. */
const TG0_BITS = [12, 16, 14, 12];
/** By the TG1 field: 16K, 4K, 64K are 1 to 3. */
const TG1_BITS = [12, 14, 12, 16];

/** The granule used when the field asks for `bits`: an implemented one (CONSTRAINED UNPREDICTABLE: we take another). */
function implementedGranule(f: Features, bits: number): number {
  if (bits === 14 ? f.granule16K : bits === 16 ? f.granule64K : f.granule4K) return bits;
  return f.granule4K ? 12 : f.granule64K ? 16 : 14;
}

function setStage1Range(range: Range, size: number, granule: number, ttbrLo: number, ttbrHi: number): void {
  // An out-of-range TxSZ may act as the nearest valid one or fault; it faults here, as on QEMU.
  range.valid = size >= 16 && size <= 39;
  const inputBits = 64 - size, stride = granule - 3;
  range.inputBits = inputBits;
  range.granuleBits = granule;
  range.startLevel = 4 - Math.ceil((inputBits - granule) / stride);
  const tableBits = Math.max(6, inputBits - (granule + (3 - range.startLevel) * stride) + 3);
  range.table = alignDown((ttbrHi & 0xffff) * 2 ** 32 + (ttbrLo >>> 0), tableBits);
}

const alignDown = (address: number, bits: number): number => Math.floor(address / 2 ** bits) * 2 ** bits;

/** The bits a table's address may have beyond a granule's: 16 tables of the largest granule. */
function setStage2Range(range: Range, c: Controls, f: Features, vtcr: number, vttbrLo: number, vttbrHi: number): void {
  const granule = implementedGranule(f, TG0_BITS[(vtcr >>> 14) & 3]!), stride = granule - 3;
  const inputBits = 64 - (vtcr & 63), sl0 = (vtcr >>> 6) & 3;
  const startLevel = granule === 12 ? 2 - sl0 : 3 - sl0;
  // The number of levels must fit the size, with at most 16 concatenated tables at the first.
  const least = (3 - startLevel) * stride + granule + 1, most = least + (stride - 1) + 4;
  const tooLarge = granule === 14 ? 42 : 44;
  range.valid = sl0 !== 3 && inputBits <= 48 && inputBits >= 25 && inputBits <= f.paBits &&
    inputBits >= least && inputBits <= most && (sl0 !== 2 || f.paBits >= tooLarge);
  range.inputBits = inputBits;
  range.granuleBits = granule;
  range.startLevel = startLevel;
  const tableBits = Math.max(6, inputBits - (granule + (3 - startLevel) * stride) + 3);
  range.table = alignDown((vttbrHi & 0xffff) * 2 ** 32 + (vttbrLo >>> 0), range.valid ? tableBits : 12);
  c.stage2OutputBits = Math.min(PHYSICAL_BITS[(vtcr >>> 16) & 7]!, f.paBits);
  range.tableBeyond = range.table >= 2 ** c.stage2OutputBits;
}

/** Decodes `c.key` into the rest of `c`. */
export function decodeControls(c: Controls, f: Features): void {
  const key = c.key, flags = key[KEY.flags]!, sctlr = key[KEY.sctlr]!;
  const lo = key[KEY.tcrLo]!, hi = key[KEY.tcrHi]!;
  c.physicalBits = f.paBits;
  c.xnx = f.xnx;
  c.regime = (flags & 3) as Regime;
  c.el0 = (flags & 4) !== 0;
  c.pan = (flags & 8) !== 0 && f.pan;
  c.stage1 = (sctlr & SCTLR_M) !== 0;
  c.bigEndian = (sctlr & SCTLR_EE) !== 0;
  c.alignmentCheck = (sctlr & SCTLR_A) !== 0;
  c.writeExecuteNever = (sctlr & SCTLR_WXN) !== 0;
  c.dataCache = (sctlr & SCTLR_C) !== 0;
  c.instructionCache = (sctlr & SCTLR_I) !== 0;
  c.mairLo = key[KEY.mair]!;
  c.mairHi = key[KEY.mair + 1]!;
  const single = c.regime === REGIME.EL2;
  const granule0 = implementedGranule(f, TG0_BITS[(lo >>> 14) & 3]!);
  setStage1Range(c.low, lo & 63, granule0, key[KEY.ttbr0]!, key[KEY.ttbr0 + 1]!);
  if (single) {
    c.high.valid = false;
    c.outputBits = Math.min(PHYSICAL_BITS[(lo >>> 16) & 7]!, f.paBits);
    c.low.topByteIgnored = (lo & (1 << 20)) !== 0;
    c.high.topByteIgnored = c.low.topByteIgnored;
    c.accessFlagUpdate = f.accessFlagUpdate && (lo & (1 << 21)) !== 0;
    c.dirtyUpdate = c.accessFlagUpdate && f.dirtyUpdate && (lo & (1 << 22)) !== 0;
    c.low.hierarchyDisabled = f.hpd && (lo & (1 << 24)) !== 0;
  } else {
    const granule1 = implementedGranule(f, TG1_BITS[lo >>> 30]!);
    setStage1Range(c.high, (lo >>> 16) & 63, granule1, key[KEY.ttbr1]!, key[KEY.ttbr1 + 1]!);
    if ((lo & (1 << 7)) !== 0) c.low.valid = false;
    if ((lo & (1 << 23)) !== 0) c.high.valid = false;
    c.outputBits = Math.min(PHYSICAL_BITS[hi & 7]!, f.paBits);
    c.low.topByteIgnored = (hi & (1 << 5)) !== 0;
    c.high.topByteIgnored = (hi & (1 << 6)) !== 0;
    c.accessFlagUpdate = f.accessFlagUpdate && (hi & (1 << 7)) !== 0;
    c.dirtyUpdate = c.accessFlagUpdate && f.dirtyUpdate && (hi & (1 << 8)) !== 0;
    c.low.hierarchyDisabled = f.hpd && (hi & (1 << 9)) !== 0;
    c.high.hierarchyDisabled = f.hpd && (hi & (1 << 10)) !== 0;
    const asid = key[((lo & (1 << 22)) !== 0 ? KEY.ttbr1 : KEY.ttbr0) + 1]! >>> 16;
    c.asid = f.asid16 && (hi & (1 << 4)) !== 0 ? asid : asid & 0xff;
  }
  c.low.tableBeyond = c.low.table >= 2 ** c.outputBits;
  c.high.tableBeyond = c.high.table >= 2 ** c.outputBits;
  decodeStage2(c, f);
}

function decodeStage2(c: Controls, f: Features): void {
  const key = c.key, hcr = key[KEY.hcrLo]!, hcrHi = key[KEY.hcrHi]!, vtcr = key[KEY.vtcr]!;
  c.vmid = 0;
  c.stage2 = false;
  c.defaultCacheable = false;
  c.protectedWalk = false;
  c.cacheDisable = false;
  c.instructionCacheDisable = false;
  if (c.regime !== REGIME.EL10 || !f.el2) return;
  const vmid = key[KEY.vttbr + 1]! >>> 16;
  c.vmid = f.vmid16 && (vtcr & (1 << 19)) !== 0 ? vmid : vmid & 0xff;
  const host = (hcr & HCR_TGE) !== 0 && (hcrHi & HCR_E2H_HI) !== 0;
  if (host) return;
  c.defaultCacheable = (hcr & HCR_DC) !== 0;
  c.stage2 = (hcr & (HCR_VM | HCR_DC)) !== 0;
  if (!c.stage2) return;
  c.protectedWalk = (hcr & HCR_PTW) !== 0;
  c.cacheDisable = (hcrHi & HCR_CD_HI) !== 0;
  c.instructionCacheDisable = (hcrHi & HCR_ID_HI) !== 0;
  c.stage2BigEndian = (key[KEY.sctlr2]! & SCTLR_EE) !== 0;
  c.stage2AccessFlagUpdate = f.accessFlagUpdate && (vtcr & (1 << 21)) !== 0;
  c.stage2DirtyUpdate = c.stage2AccessFlagUpdate && f.dirtyUpdate && (vtcr & (1 << 22)) !== 0;
  setStage2Range(c.second, c, f, vtcr, key[KEY.vttbr]!, key[KEY.vttbr + 1]!);
}
