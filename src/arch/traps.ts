// The bits that trap system register accesses, each declared once with its direction; registers then name the bit. How a
// bit acts at each exception level follows from its kind, as the access pseudocode of DDI 0487 ("AArch64 System Register
// Descriptions") has it for every register. Fine-grained traps and nested virtualization are later than Armv8.2.

export type Direction = "r" | "w" | "rw";

/**
 * A hypervisor's bit: accesses from EL1, and from EL0 unless it belongs to the host (HCR_EL2.{E2H,TGE} = {1,1}), trap to
 * EL2 when `field` is set.
 */
export interface GuestTrap {
  readonly kind: "guest";
  readonly register: "HCR_EL2" | "CPTR_EL2" | "MDCR_EL2" | "ICH_HCR_EL2";
  readonly field: string;
  /** Another field of the register that has the same effect. */
  readonly or?: string;
  readonly on: Direction;
  /** HCR_EL2.TGE has the same effect, and the host's EL0 is no exception. */
  readonly withTge?: boolean;
}

/**
 * An operating system's permission for EL0: when all `fields` are clear, accesses from EL0 trap to EL1, or to EL2 when
 * HCR_EL2.TGE is set. The register is that of the regime EL0 belongs to.
 */
export interface UserEnable {
  readonly kind: "user";
  readonly register: "SCTLR_EL1" | "CNTKCTL_EL1";
  readonly host: "SCTLR_EL2" | "CNTHCTL_EL2";
  readonly fields: readonly string[];
  readonly on: "rw";
}

/** Written as code in src/cpu/traps.ts: the bit's meaning or place depends on more than itself. */
export interface SpecialTrap {
  readonly kind: "special";
  readonly on: Direction;
}

export type Trap = GuestTrap | UserEnable | SpecialTrap;

const hcr = (field: string, on: Direction): GuestTrap => ({ kind: "guest", register: "HCR_EL2", field, on });
const ich = (field: string): GuestTrap => ({ kind: "guest", register: "ICH_HCR_EL2", field, on: "rw" });
const mdcr = (field: string): GuestTrap => ({
  kind: "guest",
  register: "MDCR_EL2",
  field,
  or: "TDE",
  on: "rw",
  withTge: true,
});
const sctlr = (field: string): UserEnable => ({
  kind: "user",
  register: "SCTLR_EL1",
  host: "SCTLR_EL2",
  fields: [field],
  on: "rw",
});
const timer = (...fields: string[]): UserEnable => ({
  kind: "user",
  register: "CNTKCTL_EL1",
  host: "CNTHCTL_EL2",
  fields,
  on: "rw",
});

export const TRAPS = {
  TVM: hcr("TVM", "w"),
  TRVM: hcr("TRVM", "r"),
  TID1: hcr("TID1", "r"),
  TID2: hcr("TID2", "rw"),
  TID3: hcr("TID3", "r"),
  TACR: hcr("TACR", "rw"),
  TIDCP: hcr("TIDCP", "rw"),
  TERR: hcr("TERR", "rw"),
  TTLB: hcr("TTLB", "w"),
  TPU: hcr("TPU", "w"),
  TPC: hcr("TPC", "w"),
  TSW: hcr("TSW", "w"),
  TDZ: hcr("TDZ", "w"),
  TCPAC: { kind: "guest", register: "CPTR_EL2", field: "TCPAC", on: "rw" },
  TDA: mdcr("TDA"),
  TDRA: mdcr("TDRA"),
  TDOSA: mdcr("TDOSA"),
  TC: ich("TC"),
  TALL0: ich("TALL0"),
  TALL1: ich("TALL1"),
  TDIR: ich("TDIR"),
  UCT: sctlr("UCT"),
  UMA: sctlr("UMA"),
  UCI: sctlr("UCI"),
  DZE: sctlr("DZE"),
  EL0PCTEN: timer("EL0PCTEN"),
  EL0VCTEN: timer("EL0VCTEN"),
  EL0xCTEN: timer("EL0PCTEN", "EL0VCTEN"),
  EL0PTEN: timer("EL0PTEN"),
  EL0VTEN: timer("EL0VTEN"),
  /** CNTHCTL_EL2: enables for EL1 and EL0, at other places when E2H is set. */
  EL1PCTEN: { kind: "special", on: "rw" },
  EL1PTEN: { kind: "special", on: "rw" },
  /** CPACR_EL1.FPEN, CPTR_EL2.TFP or FPEN: reported with the class of FP instructions. */
  FP: { kind: "special", on: "rw" },
  /** HCR_EL2.IMO or FMO: a guest does not send physical SGIs. */
  SGI: { kind: "special", on: "w" },
  /** UNDEFINED except at the highest implemented exception level. */
  HIGHEST: { kind: "special", on: "w" },
  /** UNDEFINED where EL2 is implemented. */
  WITHOUT_EL2: { kind: "special", on: "rw" },
  /** SP_EL0 is UNDEFINED while it is the stack pointer. */
  SPSEL: { kind: "special", on: "rw" },
  /** MDSCR_EL1.TDCC keeps EL0 from the debug communication channel. */
  TDCC: { kind: "special", on: "rw" },
} as const satisfies Record<string, Trap>;

export type TrapName = keyof typeof TRAPS;
