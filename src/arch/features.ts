// The optional features of the modelled cores: what a register, a register field or an instruction needs to exist. Names
// are those of DDI 0487 ("The Armv8 architecture extensions"); our own are in lower case.

/** What the modelled cores may have besides the Armv8.0 base. */
export const FEATURES = [
  // Instructions.
  "FEAT_AES",
  "FEAT_PMULL",
  "FEAT_SHA1",
  "FEAT_SHA256",
  "FEAT_CRC32",
  "FEAT_LSE",
  "FEAT_RDM",
  "FEAT_FP16",
  "FEAT_DotProd",
  "FEAT_LRCPC",
  "FEAT_DPB",
  // System architecture.
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
  // What the board decides: EL2 itself, and the GICv3 system register interface.
  "el2",
  "gicv3",
  // The IMPLEMENTATION DEFINED registers of a family of cores.
  "imp_a57",
  "imp_a76",
] as const;

export type Feature = (typeof FEATURES)[number];
