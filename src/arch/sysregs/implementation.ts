// IMPLEMENTATION DEFINED registers of the named cores that operating systems touch: read as zero, ignore writes, but for
// the number of cores in L2CTLR_EL1 of Cortex-A57 and A72 (their Technical Reference Manuals, "System Control").

import { type Encoding, sysreg } from "../sysreg.ts";
import type { Feature } from "../features.ts";

const stub = (feature: Feature, at: Encoding) =>
  sysreg({ at, read: 1, write: 1, feature, traps: ["TIDCP"], bits: "RES0:64" });

export const IMPLEMENTATION = {
  L2CTLR_EL1: sysreg({
    at: [3, 1, 11, 0, 2],
    read: 1,
    write: 1,
    feature: "imp_a57",
    traps: ["TIDCP"],
    owner: "cpu",
    bits: "RES0:38 Cores:2 RES0:24",
  }),
  L2ECTLR_EL1: stub("imp_a57", [3, 1, 11, 0, 3]),
  L2ACTLR_EL1: stub("imp_a57", [3, 1, 15, 0, 0]),
  A57_CPUACTLR_EL1: stub("imp_a57", [3, 1, 15, 2, 0]),
  A57_CPUECTLR_EL1: stub("imp_a57", [3, 1, 15, 2, 1]),
  CPUMERRSR_EL1: stub("imp_a57", [3, 1, 15, 2, 2]),
  L2MERRSR_EL1: stub("imp_a57", [3, 1, 15, 2, 3]),
  /** Peripheral base: where the GIC is. */
  CBAR_EL1: sysreg({
    at: [3, 1, 15, 3, 0],
    read: 1,
    feature: "imp_a57",
    traps: ["TIDCP"],
    bits: "PeriphBase:64",
    reset: 0x0800_0000n,
  }),
  CPUCFR_EL1: stub("imp_a76", [3, 0, 15, 0, 0]),
  CPUACTLR_EL1: stub("imp_a76", [3, 0, 15, 1, 0]),
  CPUACTLR2_EL1: stub("imp_a76", [3, 0, 15, 1, 1]),
  CPUACTLR3_EL1: stub("imp_a76", [3, 0, 15, 1, 2]),
  CPUECTLR_EL1: stub("imp_a76", [3, 0, 15, 1, 4]),
  CPUPWRCTLR_EL1: stub("imp_a76", [3, 0, 15, 2, 7]),
} as const;
