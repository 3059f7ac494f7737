// The optional features of the modelled cores: what a register, a register field or an instruction needs to exist. Names
// follow the FEAT_ names of DDI 0487 ("The Armv8 architecture extensions"), in lower case.

/** What the modelled cores may have besides the Armv8.0 base. */
export const FEATURES = [
  // Instructions.
  "aes",
  "pmull",
  "sha1",
  "sha256",
  "crc32",
  "lse",
  "rdm",
  "fp16",
  "dotprod",
  "lrcpc",
  "dpb",
  // System architecture.
  "vhe",
  "pan",
  "pan2",
  "uao",
  "vmid16",
  "hafdbs",
  "hpds",
  "xnx",
  "ttcnp",
  "ras",
  "granule16k",
  // What the board decides: EL2 itself, and the GICv3 system register interface.
  "el2",
  "gicv3",
  // The IMPLEMENTATION DEFINED registers of a family of cores.
  "imp_a57",
  "imp_a76",
] as const;

export type Feature = (typeof FEATURES)[number];
