// The CPU models: which features each named core has and what its identification registers say. Values are those of the
// cores' Technical Reference Manuals, less what is not implemented here: no EL3, no AArch32, no big-endian data, no
// performance monitors, no LORegions, no load/store-multiple atomicity control. A feature that is off is not announced.

import type { Feature } from "./features.ts";
import type { SysregName } from "./sysregs.ts";

export type CpuName = "cortex-a57" | "cortex-a72" | "cortex-a76" | "max";
export const CPU_NAMES: readonly CpuName[] = ["cortex-a57", "cortex-a72", "cortex-a76", "max"];

/** What a machine decides about its cores. */
export interface ModelOptions {
  readonly el2: boolean;
  readonly gicv3: boolean;
  /** Number of cores in the machine, for L2CTLR_EL1. */
  readonly cores?: number;
  /** Features to leave out (`-cpu NAME,feature=off`). */
  readonly without?: readonly Feature[];
}

export interface CpuModel {
  readonly name: CpuName;
  /** For the device tree: "arm,cortex-a57". */
  readonly compatible: string;
  readonly features: ReadonlySet<Feature>;
  readonly cores: number;
  /** Bits of a physical address. */
  readonly paBits: number;
  /** Values of registers that depend on the model. */
  readonly values: Readonly<Partial<Record<SysregName, bigint>>>;
  /** CCSIDR_EL1 by CSSELR_EL1. */
  readonly caches: readonly bigint[];
  readonly has: (feature: Feature) => boolean;
}

interface Core {
  readonly compatible: string;
  readonly features: readonly Feature[];
  readonly paBits: number;
  readonly midr: bigint;
  readonly ctr: bigint;
  readonly clidr: bigint;
  /** Level 1 data, level 1 instruction, level 2 unified, ... */
  readonly caches: readonly bigint[];
  readonly dfr0: bigint;
  /** Reset value of SCTLR_ELx: what is RES1 in the core's version of the architecture. */
  readonly sctlr: bigint;
}

const V80: readonly Feature[] = ["FEAT_AES", "FEAT_PMULL", "FEAT_SHA1", "FEAT_SHA256", "FEAT_CRC32"];
const V82: readonly Feature[] = [
  ...V80,
  "FEAT_LSE",
  "FEAT_RDM",
  "FEAT_FP16",
  "FEAT_DotProd",
  "FEAT_LRCPC",
  "FEAT_DPB",
  "FEAT_VHE",
  "FEAT_PAN",
  "FEAT_PAN2",
  "FEAT_UAO",
  "FEAT_VMID16",
  "FEAT_HAFDBS",
  "FEAT_HPDS",
  "FEAT_XNX",
  "FEAT_TTCNP",
  "FEAT_RAS",
  "granule16k",
];

const A57: Core = {
  compatible: "arm,cortex-a57",
  features: [...V80, "imp_a57"],
  paBits: 44,
  midr: 0x411f_d070n,
  ctr: 0x8444_c004n,
  clidr: 0x0a20_0023n,
  caches: [0x701f_e00an, 0x201f_e012n, 0x70ff_e07an],
  dfr0: 0x1030_5006n,
  sctlr: 0x30c5_0838n,
};
const A72: Core = {
  ...A57,
  compatible: "arm,cortex-a72",
  midr: 0x410f_d083n,
  caches: [0x701f_e00an, 0x201f_e012n, 0x707f_e07an],
};
const A76: Core = {
  compatible: "arm,cortex-a76",
  features: [...V82, "imp_a76"],
  paBits: 40,
  midr: 0x414f_d0b1n,
  ctr: 0x8444_c004n,
  clidr: 0x8200_0023n,
  caches: [0x701f_e01an, 0x201f_e01an, 0x707f_e03an],
  dfr0: 0x1030_5008n,
  sctlr: 0x30c5_0838n,
};
const CORES: Readonly<Record<CpuName, Core>> = {
  "cortex-a57": A57,
  "cortex-a72": A72,
  "cortex-a76": A76,
  // As QEMU names it: no implementer, part number "Q".
  max: { ...A76, compatible: "arm,armv8", midr: 0x000f_0510n },
};

/** Makes the model of a core. */
export function cpuModel(name: CpuName, options: ModelOptions): CpuModel {
  const core = CORES[name];
  const features = new Set<Feature>(core.features);
  if (options.el2) features.add("el2");
  if (options.gicv3) features.add("gicv3");
  for (const feature of options.without ?? []) features.delete(feature);
  // What cannot stand without another.
  const requires: readonly (readonly [Feature, Feature])[] = [["FEAT_PAN2", "FEAT_PAN"], ["FEAT_PMULL", "FEAT_AES"]];
  for (const [feature, needed] of requires) if (!features.has(needed)) features.delete(feature);
  const has = (feature: Feature) => features.has(feature);
  /** The value of an identification field at bit `lsb`, if the feature is there. */
  const field = (feature: Feature, lsb: number, value = 1) => has(feature) ? BigInt(value) << BigInt(lsb) : 0n;
  const fp = has("FEAT_FP16") ? 0x11_0000n : 0n;
  const PA_RANGE: Record<number, bigint> = { 40: 2n, 44: 4n, 48: 5n };
  return {
    name,
    compatible: core.compatible,
    features,
    cores: options.cores ?? 1,
    paBits: core.paBits,
    caches: core.caches,
    has,
    values: {
      MIDR_EL1: core.midr,
      CTR_EL0: core.ctr,
      CLIDR_EL1: core.clidr,
      DCZID_EL0: 4n,
      SCTLR_EL1: core.sctlr,
      SCTLR_EL2: core.sctlr,
      // EL0 and EL1 are AArch64 only, and so is EL2 where it exists. Nothing is speculated: CSV2 and CSV3.
      ID_AA64PFR0_EL1: 0x11n | fp | field("el2", 8) | field("gicv3", 24) | field("FEAT_RAS", 28) |
        (has("FEAT_VHE") ? 0x1100_0000_0000_0000n : 0n),
      ID_AA64DFR0_EL1: core.dfr0,
      ID_AA64ISAR0_EL1: field("FEAT_AES", 4, has("FEAT_PMULL") ? 2 : 1) | field("FEAT_SHA1", 8) |
        field("FEAT_SHA256", 12) |
        field("FEAT_CRC32", 16) | field("FEAT_LSE", 20, 2) | field("FEAT_RDM", 28) | field("FEAT_DotProd", 44),
      ID_AA64ISAR1_EL1: field("FEAT_DPB", 0) | field("FEAT_LRCPC", 20),
      // 16-bit ASIDs; 4K and 64K granules always. Little-endian only.
      ID_AA64MMFR0_EL1: PA_RANGE[core.paBits]! | 0x20n | field("granule16k", 20),
      ID_AA64MMFR1_EL1: field("FEAT_HAFDBS", 0, 2) | field("FEAT_VMID16", 4, 2) | field("FEAT_VHE", 8) |
        field("FEAT_HPDS", 12) |
        field("FEAT_PAN", 20, has("FEAT_PAN2") ? 2 : 1) | field("FEAT_XNX", 28),
      ID_AA64MMFR2_EL1: field("FEAT_TTCNP", 0) | field("FEAT_UAO", 4) | field("FEAT_RAS", 12),
    },
  };
}
