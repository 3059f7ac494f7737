import assert from "node:assert/strict";
import { DIRECT } from "../../src/arch/direct.ts";
import { ISS } from "../../src/arch/esr.ts";
import { CPU_NAMES, cpuModel } from "../../src/arch/models.ts";
import { SPSR } from "../../src/arch/pstate.ts";
import { SYSTEM_INSTRUCTIONS } from "../../src/arch/sysinsns.ts";
import { sysregKey } from "../../src/arch/sysreg.ts";
import {
  CPACR_EL1,
  CPTR_EL2_NVHE,
  directOf,
  ENCODINGS,
  findSysreg,
  HCR_EL2,
  ICH_HCR_EL2,
  ICH_LR_EL2,
  ICH_VMCR_EL2,
  REGISTERS,
  SCTLR,
  SYSREG_NAMES,
  SYSREGS_OFFSET,
  SYSTEM_REGISTERS,
  TCR_EL1,
  TCR_EL2_NVHE,
  VTCR_EL2,
} from "../../src/arch/sysregs.ts";

Deno.test("fields stand where the manual has them", () => {
  const places = (at: Readonly<Record<string, { lsb: number; width: number }>>, ...names: string[]) =>
    Object.fromEntries(names.map((n) => [n, at[n]!.lsb]));
  assert.deepEqual(places(HCR_EL2.at, "VM", "FMO", "IMO", "AMO", "VF", "VSE", "FB", "DC", "TWI", "TWE"), {
    VM: 0,
    FMO: 3,
    IMO: 4,
    AMO: 5,
    VF: 6,
    VSE: 8,
    FB: 9,
    DC: 12,
    TWI: 13,
    TWE: 14,
  });
  assert.deepEqual(places(HCR_EL2.at, "TID3", "TSC", "TIDCP", "TVM", "TGE", "TDZ", "HCD", "TRVM", "RW", "E2H", "TEA"), {
    TID3: 18,
    TSC: 19,
    TIDCP: 20,
    TVM: 26,
    TGE: 27,
    TDZ: 28,
    HCD: 29,
    TRVM: 30,
    RW: 31,
    E2H: 34,
    TEA: 37,
  });
  const sctlr = places(SCTLR.at, "M", "A", "C", "SA", "SA0", "UMA", "I", "DZE", "UCT", "nTWI", "nTWE", "WXN");
  assert.deepEqual(sctlr, {
    M: 0,
    A: 1,
    C: 2,
    SA: 3,
    SA0: 4,
    UMA: 9,
    I: 12,
    DZE: 14,
    UCT: 15,
    nTWI: 16,
    nTWE: 18,
    WXN: 19,
  });
  assert.deepEqual(places(SCTLR.at, "IESB", "SPAN", "E0E", "EE", "UCI"), {
    IESB: 21,
    SPAN: 23,
    E0E: 24,
    EE: 25,
    UCI: 26,
  });
  assert.deepEqual(places(TCR_EL1.at, "EPD0", "TG0", "A1", "EPD1", "TG1", "IPS", "AS", "TBI0", "HA", "HD", "HPD0"), {
    EPD0: 7,
    TG0: 14,
    A1: 22,
    EPD1: 23,
    TG1: 30,
    IPS: 32,
    AS: 36,
    TBI0: 37,
    HA: 39,
    HD: 40,
    HPD0: 41,
  });
  assert.deepEqual(places(TCR_EL2_NVHE.at, "TG0", "PS", "TBI", "HA", "HD", "HPD"), {
    TG0: 14,
    PS: 16,
    TBI: 20,
    HA: 21,
    HD: 22,
    HPD: 24,
  });
  assert.deepEqual(places(VTCR_EL2.at, "SL0", "TG0", "PS", "VS", "HA"), { SL0: 6, TG0: 14, PS: 16, VS: 19, HA: 21 });
  assert.deepEqual(places(CPACR_EL1.at, "FPEN", "TTA"), { FPEN: 20, TTA: 28 });
  assert.deepEqual(places(CPTR_EL2_NVHE.at, "TFP", "TTA", "TCPAC"), { TFP: 10, TTA: 20, TCPAC: 31 });
  assert.deepEqual(places(ICH_HCR_EL2.at, "En", "UIE", "TC", "TALL0", "TALL1", "TDIR", "EOIcount"), {
    En: 0,
    UIE: 1,
    TC: 10,
    TALL0: 11,
    TALL1: 12,
    TDIR: 14,
    EOIcount: 27,
  });
  assert.deepEqual(places(ICH_VMCR_EL2.at, "VENG0", "VCBPR", "VEOIM", "VBPR1", "VBPR0", "VPMR"), {
    VENG0: 0,
    VCBPR: 4,
    VEOIM: 9,
    VBPR1: 18,
    VBPR0: 21,
    VPMR: 24,
  });
  assert.deepEqual(places(ICH_LR_EL2.at, "pINTID", "Priority", "Group", "HW", "State"), {
    pINTID: 32,
    Priority: 48,
    Group: 60,
    HW: 61,
    State: 62,
  });
  assert.deepEqual(places(SPSR.at, "N", "UAO", "PAN", "SS", "IL", "D", "F", "nRW", "EL", "SP"), {
    N: 31,
    UAO: 23,
    PAN: 22,
    SS: 21,
    IL: 20,
    D: 9,
    F: 6,
    nRW: 4,
    EL: 2,
    SP: 0,
  });
  assert.deepEqual(places(ISS.DATA_ABORT.at, "ISV", "SAS", "SRT", "SF", "AR", "CM", "S1PTW", "WnR"), {
    ISV: 24,
    SAS: 22,
    SRT: 16,
    SF: 15,
    AR: 14,
    CM: 8,
    S1PTW: 7,
    WnR: 6,
  });
  assert.equal(REGISTERS.FPSR.layout.at["QC"]!.lsb, 27);
  assert.equal(REGISTERS.FPCR.layout.at["FZ"]!.lsb, 24);
  assert.equal(REGISTERS.FPCR.layout.at["FZ16"]!.lsb, 19);
  assert.equal(REGISTERS.MDSCR_EL1.layout.at["TDCC"]!.lsb, 12);
  assert.equal(REGISTERS.MDSCR_EL1.layout.at["MDE"]!.lsb, 15);
  assert.equal(REGISTERS.MDCR_EL2.layout.at["TDE"]!.lsb, 8);
  assert.equal(REGISTERS.MDCR_EL2.layout.at["TDRA"]!.lsb, 11);
  assert.equal(REGISTERS.CNTHCTL_EL2.layout.at["EL1PTEN"]!.lsb, 11);
  assert.equal(REGISTERS.CNTKCTL_EL1.layout.at["EL0PTEN"]!.lsb, 9);
  assert.equal(REGISTERS.ICC_SGI1R_EL1.layout.at["INTID"]!.lsb, 24);
  assert.equal(REGISTERS.ICC_SGI1R_EL1.layout.at["IRM"]!.lsb, 40);
});

Deno.test("VHE aliases and redirections are those of the manual", () => {
  const aliases = [...ENCODINGS.values()].filter((e) => e.alias).map((e) => e.spelling).sort();
  assert.deepEqual(aliases, [
    "AFSR0_EL12",
    "AFSR1_EL12",
    "AMAIR_EL12",
    "CNTKCTL_EL12",
    "CNTP_CTL_EL02",
    "CNTP_CVAL_EL02",
    "CNTP_TVAL_EL02",
    "CNTV_CTL_EL02",
    "CNTV_CVAL_EL02",
    "CNTV_TVAL_EL02",
    "CONTEXTIDR_EL12",
    "CPACR_EL12",
    "ELR_EL12",
    "ESR_EL12",
    "FAR_EL12",
    "MAIR_EL12",
    "SCTLR_EL12",
    "SPSR_EL12",
    "TCR_EL12",
    "TTBR0_EL12",
    "TTBR1_EL12",
    "VBAR_EL12",
  ]);
  assert.equal(findSysreg("SCTLR_EL12")?.key, sysregKey([3, 5, 1, 0, 0]));
  assert.equal(REGISTERS.CPACR_EL1.e2h, "CPTR_EL2");
  assert.equal(REGISTERS.CNTKCTL_EL1.e2h, "CNTHCTL_EL2");
});

Deno.test("direct access reaches the register's own storage", () => {
  const direct = directOf(findSysreg("ELR_EL1")!.key)!;
  assert.deepEqual(direct, {
    readClass: DIRECT.EL1_REDIRECTED,
    writeClass: DIRECT.EL1_REDIRECTED,
    offset: SYSREGS_OFFSET + SYSTEM_REGISTERS.offset.ELR_EL1,
  });
  assert.deepEqual(directOf(findSysreg("ELR_EL12")!.key), {
    ...direct,
    readClass: DIRECT.EL12,
    writeClass: DIRECT.EL12,
  });
  assert.equal(directOf(findSysreg("TTBR0_EL1")!.key)?.writeClass, undefined);
  assert.equal(directOf(findSysreg("CNTVCT_EL0")!.key), undefined);
  assert.equal(directOf(findSysreg("TTBR1_EL2")!.key), undefined, "not every CPU has it");
  for (const name of SYSREG_NAMES) {
    const row = REGISTERS[name];
    if (row.direct) assert(!row.owner && !(row.direct.write !== undefined && row.effect), name);
  }
});

Deno.test("a virtual register is one without an encoding", () => {
  for (const name of SYSREG_NAMES) {
    const virtual = REGISTERS[name].virtual;
    if (virtual) assert.equal(REGISTERS[virtual.name as keyof typeof REGISTERS]?.at, undefined, name);
    if (!REGISTERS[name].at) assert(name.startsWith("ICV_") || name === "SP_EL2", name);
  }
});

Deno.test("system instructions", () => {
  assert.equal(SYSTEM_INSTRUCTIONS.get(sysregKey([1, 3, 7, 4, 1]))?.op, "DC_ZVA");
  assert.equal(SYSTEM_INSTRUCTIONS.get(sysregKey([1, 4, 8, 3, 4]))?.op, "ALLE1IS");
  assert.equal(SYSTEM_INSTRUCTIONS.get(sysregKey([1, 0, 8, 3, 1]))?.op, "VAE1IS");
  assert.equal(SYSTEM_INSTRUCTIONS.get(sysregKey([1, 4, 7, 8, 6]))?.op, "S12E0R");
  assert.equal(SYSTEM_INSTRUCTIONS.get(sysregKey([1, 0, 7, 9, 0]))?.feature, "FEAT_PAN2");
});

// What qemu-system-aarch64 7.2 shows with virtualization=on, gic-version=3.
const QEMU: Record<string, Record<string, bigint>> = {
  "cortex-a57": {
    MIDR_EL1: 0x411fd070n,
    ID_AA64PFR0_EL1: 0x1000222n,
    ID_AA64DFR0_EL1: 0x10305106n,
    ID_AA64ISAR0_EL1: 0x11120n,
    ID_AA64ISAR1_EL1: 0n,
    ID_AA64MMFR0_EL1: 0x1124n,
    ID_AA64MMFR1_EL1: 0n,
    ID_AA64MMFR2_EL1: 0n,
    CTR_EL0: 0x8444c004n,
    CLIDR_EL1: 0x0a200023n,
  },
  "cortex-a72": { MIDR_EL1: 0x410fd083n, ID_AA64ISAR0_EL1: 0x11120n },
  "cortex-a76": {
    MIDR_EL1: 0x414fd0b1n,
    ID_AA64PFR0_EL1: 0x1100000011110112n,
    ID_AA64DFR0_EL1: 0x10305408n,
    ID_AA64ISAR0_EL1: 0x100010211120n,
    ID_AA64ISAR1_EL1: 0x100001n,
    ID_AA64MMFR0_EL1: 0x101122n,
    ID_AA64MMFR1_EL1: 0x10212122n,
    ID_AA64MMFR2_EL1: 0x1011n,
    CTR_EL0: 0x8444c004n,
    CLIDR_EL1: 0x82000023n,
  },
};
/** Fields that we do not announce, by register: AArch32 at each level, PMU, mixed endian and Secure memory, LORegions. */
const LESS: Record<string, bigint> = {
  ID_AA64PFR0_EL1: 0x333n,
  ID_AA64DFR0_EL1: 0xf00n,
  ID_AA64MMFR0_EL1: 0xff00n,
  ID_AA64MMFR1_EL1: 0xff000n,
};

Deno.test("identification registers are QEMU's, less what is not implemented", () => {
  for (const [name, expected] of Object.entries(QEMU)) {
    const { values } = cpuModel(name as "cortex-a57", { el2: true, gicv3: true });
    for (const [register, value] of Object.entries(expected)) {
      const less = LESS[register] ?? 0n, ours = values[register as keyof typeof values]!;
      assert.equal(ours & ~less, value & ~less, `${name} ${register}`);
    }
    assert.equal(values.ID_AA64PFR0_EL1! & 0xffffn, 0x111n);
    assert.equal(values.ID_AA64DFR0_EL1! & 0xf00n, 0n);
  }
});

Deno.test("what the board leaves out is not announced", () => {
  for (const name of CPU_NAMES) {
    const { values, has } = cpuModel(name, { el2: false, gicv3: false });
    assert.equal(values.ID_AA64PFR0_EL1! & 0xf000f00n, 0n);
    assert(!has("el2") && !has("gicv3"));
  }
  const { values } = cpuModel("cortex-a76", { el2: true, gicv3: true, without: ["FEAT_LSE", "FEAT_PAN"] });
  assert.equal(values.ID_AA64ISAR0_EL1! & 0xf00000n, 0n);
  assert.equal(values.ID_AA64MMFR1_EL1! & 0xf00000n, 0n);
});
