import assert from "node:assert/strict";
import { DIRECT } from "../../src/arch/direct.ts";
import { sysregKey } from "../../src/arch/sysreg.ts";
import {
  directOf,
  ENCODINGS,
  findSysreg,
  HCR_EL2,
  ICH_HCR_EL2,
  SCTLR,
  SYSREGS_OFFSET,
  SYSTEM_REGISTERS,
} from "../../src/arch/sysregs.ts";
import { GIC_SYSREGS } from "../../src/gic/gic_v3.ts";
import { recomputeControls } from "../../src/cpu/pstate.ts";
import { CONTINUE } from "../../src/cpu/status.ts";
import { esb, readSysreg, sysInstruction, writeSysreg } from "../../src/cpu/sysreg_access.ts";
import { access, accessKey, enterLevel, exception, type Fixture, fixture } from "./fixture.ts";

const { TGE, E2H, TVM, TRVM, TID1, TID2, TID3, TACR, TIDCP, TTLB, TPU, TPC, TSW, TDZ, IMO, FMO } = HCR_EL2.at;
const RW = 0x8000_0000n;
function setHcr({ vcpu }: Fixture, ...fields: { mask: bigint }[]): void {
  vcpu.sys.HCR_EL2 = fields.reduce((value, f) => value | f.mask, RW);
  recomputeControls(vcpu);
}

Deno.test("virtual memory controls: levels, TVM and TRVM", () => {
  const f = fixture(), { vcpu } = f;
  setHcr(f);
  for (const name of ["SCTLR_EL1", "TTBR0_EL1", "TCR_EL1", "ESR_EL1", "FAR_EL1", "MAIR_EL1", "CONTEXTIDR_EL1"]) {
    setHcr(f);
    assert.equal(access(vcpu, 0, "r", name), "undefined EL1", name);
    assert.equal(access(vcpu, 1, "r", name), "ok");
    assert.equal(access(vcpu, 2, "w", name), "ok");
    setHcr(f, TVM);
    assert.equal(access(vcpu, 1, "r", name), "ok");
    assert.equal(access(vcpu, 1, "w", name), "trap EL2");
    assert.equal(access(vcpu, 2, "w", name), "ok");
    setHcr(f, TRVM);
    assert.equal(access(vcpu, 1, "r", name), "trap EL2");
    assert.equal(access(vcpu, 1, "w", name), "ok");
  }
});

Deno.test("the syndrome of a trapped access", () => {
  const f = fixture(), { vcpu } = f;
  setHcr(f, TVM);
  const key = findSysreg("TTBR1_EL1")!.key;
  accessKey(vcpu, 1, "w", key, 17);
  // Op0 = 3, Op2 = 1, Op1 = 0, CRn = 2, Rt = 17, CRm = 0, a write
  assert.equal(vcpu.sys.ESR_EL2, BigInt(0x6200_0000 | 3 << 20 | 1 << 17 | 2 << 10 | 17 << 5));
  setHcr(f, TRVM);
  accessKey(vcpu, 1, "r", key, 17);
  assert.equal(vcpu.sys.ESR_EL2 & 1n, 1n);
});

Deno.test("values move in the register file; 31 is the zero register", () => {
  const { vcpu } = fixture(), { state, sys } = vcpu;
  enterLevel(vcpu, 2);
  const key = findSysreg("TPIDR_EL2")!.key;
  state.x[5] = 0x0123_4567_89ab_cdefn;
  assert.equal(writeSysreg(vcpu, key, 5), CONTINUE);
  assert.equal(sys.TPIDR_EL2, 0x0123_4567_89ab_cdefn);
  assert.equal(readSysreg(vcpu, key, 30), CONTINUE);
  assert.equal(state.x[30], 0x0123_4567_89ab_cdefn);
  readSysreg(vcpu, key, 31);
  assert.equal(state.x[31], 0n);
  writeSysreg(vcpu, key, 31);
  assert.equal(sys.TPIDR_EL2, 0n);
});

Deno.test("VHE: EL1's names reach EL2's registers, _EL12 reaches EL1's", () => {
  const f = fixture(), { vcpu } = f, { state, sys } = vcpu;
  const write = (name: string, value: bigint) => {
    enterLevel(vcpu, 2);
    state.x[0] = value;
    return writeSysreg(vcpu, findSysreg(name)!.key, 0);
  };
  setHcr(f);
  write("VBAR_EL1", 0x1000n);
  assert.equal(access(vcpu, 2, "w", "VBAR_EL12"), "undefined EL2");
  setHcr(f, E2H);
  write("VBAR_EL1", 0x2000n);
  write("VBAR_EL12", 0x3000n);
  write("CPACR_EL1", 0x30_0000n);
  assert.deepEqual([sys.VBAR_EL1, sys.VBAR_EL2, sys.CPTR_EL2], [0x3000n, 0x2000n, 0x30_0000n]);
  write("CNTP_CVAL_EL0", 5n);
  write("CNTP_CVAL_EL02", 6n);
  write("CNTV_CTL_EL0", 1n);
  assert.deepEqual(f.log, ["write CNTHP_CVAL_EL2 5", "write CNTP_CVAL_EL0 6", "write CNTHV_CTL_EL2 1"]);
  assert.equal(access(vcpu, 1, "r", "VBAR_EL12"), "undefined EL1");
  assert.equal(access(vcpu, 1, "w", "TTBR1_EL2"), "undefined EL1");
  // On a core without VHE neither E2H nor the names exist.
  const old = fixture("cortex-a57").vcpu;
  assert.equal(access(old, 2, "r", "VBAR_EL12"), "undefined EL2");
  assert.equal(access(old, 2, "r", "TTBR1_EL2"), "undefined EL2");
  enterLevel(old, 2);
  old.state.x[0] = E2H.mask;
  writeSysreg(old, findSysreg("HCR_EL2")!.key, 0);
  assert.equal(old.sys.HCR_EL2, RW);
});

Deno.test("identification: virtual values, TID bits, UCT", () => {
  const f = fixture(), { vcpu } = f, { state, sys } = vcpu;
  sys.VPIDR_EL2 = 0x1111n;
  sys.VMPIDR_EL2 = 0x8000_0007n;
  assert.equal(access(vcpu, 1, "r", "MIDR_EL1"), "ok");
  assert.equal(state.x[0], 0x1111n);
  access(vcpu, 1, "r", "MPIDR_EL1");
  assert.equal(state.x[0], 0x8000_0007n);
  access(vcpu, 2, "r", "MIDR_EL1");
  assert.equal(state.x[0], 0x414fd0b1n);
  setHcr(f, TID3);
  assert.equal(access(vcpu, 1, "r", "ID_AA64MMFR0_EL1"), "trap EL2");
  assert.equal(access(vcpu, 1, "r", "ID_RESERVED_7_7"), "trap EL2");
  assert.equal(access(vcpu, 1, "r", "MIDR_EL1"), "ok");
  assert.equal(access(vcpu, 0, "r", "ID_AA64MMFR0_EL1"), "undefined EL1");
  assert.equal(access(vcpu, 1, "w", "ID_AA64MMFR0_EL1"), "undefined EL1");
  setHcr(f, TID1);
  assert.equal(access(vcpu, 1, "r", "REVIDR_EL1"), "trap EL2");
  setHcr(f, TID2);
  sys.SCTLR_EL1 &= ~SCTLR.at.UCT.mask;
  assert.equal(access(vcpu, 0, "r", "CTR_EL0"), "trap EL1");
  sys.SCTLR_EL1 |= SCTLR.at.UCT.mask;
  assert.equal(access(vcpu, 0, "r", "CTR_EL0"), "trap EL2");
  assert.equal(access(vcpu, 1, "w", "CSSELR_EL1"), "trap EL2");
  setHcr(f, TID2, TGE, E2H);
  sys.SCTLR_EL2 |= SCTLR.at.UCT.mask;
  assert.equal(access(vcpu, 0, "r", "CTR_EL0"), "ok");
  sys.SCTLR_EL2 &= ~SCTLR.at.UCT.mask;
  assert.equal(access(vcpu, 0, "r", "CTR_EL0"), "trap EL2");
});

Deno.test("cache descriptions follow CSSELR_EL1", () => {
  const { vcpu } = fixture("cortex-a57"), { state, sys } = vcpu;
  const size = (select: bigint) => {
    sys.CSSELR_EL1 = select;
    access(vcpu, 1, "r", "CCSIDR_EL1");
    return state.x[0];
  };
  assert.deepEqual([size(0n), size(1n), size(2n), size(3n), size(14n)], [
    0x701fe00an,
    0x201fe012n,
    0x70ffe07an,
    0n,
    0n,
  ]);
});

Deno.test("other traps to EL2", () => {
  const f = fixture("cortex-a57"), { vcpu } = f;
  setHcr(f, TACR);
  assert.equal(access(vcpu, 1, "r", "ACTLR_EL1"), "trap EL2");
  setHcr(f);
  assert.equal(access(vcpu, 1, "w", "A57_CPUECTLR_EL1"), "ok");
  assert.equal(accessKey(vcpu, 1, "r", sysregKey([3, 7, 15, 3, 3])), "undefined EL1");
  setHcr(f, TIDCP);
  assert.equal(access(vcpu, 1, "w", "A57_CPUECTLR_EL1"), "trap EL2");
  assert.equal(accessKey(vcpu, 1, "r", sysregKey([3, 7, 15, 3, 3])), "trap EL2");
  assert.equal(accessKey(vcpu, 0, "r", sysregKey([3, 7, 15, 3, 3])), "undefined EL1");
  vcpu.sys.CPTR_EL2 |= 1n << 31n;
  assert.equal(access(vcpu, 1, "r", "CPACR_EL1"), "trap EL2");
  vcpu.sys.MDCR_EL2 = 1n << 9n;
  assert.equal(access(vcpu, 1, "w", "MDSCR_EL1"), "trap EL2");
  assert.equal(access(vcpu, 1, "w", "OSLAR_EL1"), "ok");
  vcpu.sys.MDCR_EL2 = 1n << 8n;
  assert.equal(access(vcpu, 1, "w", "OSLAR_EL1"), "trap EL2");
  assert.equal(access(vcpu, 1, "r", "MDRAR_EL1"), "trap EL2");
  assert.equal(access(vcpu, 2, "r", "MDSCR_EL1"), "ok");
});

Deno.test("timers: CNTKCTL_EL1 and CNTHCTL_EL2 in both formats", () => {
  const f = fixture(), { vcpu } = f, { sys } = vcpu;
  const matrix = (name: string) => [access(vcpu, 0, "r", name), access(vcpu, 1, "r", name), access(vcpu, 2, "r", name)];
  setHcr(f);
  sys.CNTKCTL_EL1 = 0n;
  sys.CNTHCTL_EL2 = 0n;
  assert.deepEqual(matrix("CNTPCT_EL0"), ["trap EL1", "trap EL2", "ok"]);
  assert.deepEqual(matrix("CNTVCT_EL0"), ["trap EL1", "ok", "ok"]);
  assert.deepEqual(matrix("CNTFRQ_EL0"), ["trap EL1", "ok", "ok"]);
  sys.CNTKCTL_EL1 = 0x303n;
  assert.deepEqual(matrix("CNTPCT_EL0"), ["trap EL2", "trap EL2", "ok"]);
  assert.deepEqual(matrix("CNTP_CTL_EL0"), ["trap EL2", "trap EL2", "ok"]);
  assert.deepEqual(matrix("CNTV_CTL_EL0"), ["ok", "ok", "ok"]);
  sys.CNTHCTL_EL2 = 1n;
  assert.deepEqual(matrix("CNTPCT_EL0"), ["ok", "ok", "ok"]);
  assert.deepEqual(matrix("CNTP_CTL_EL0"), ["trap EL2", "trap EL2", "ok"]);
  setHcr(f, E2H);
  assert.deepEqual(matrix("CNTPCT_EL0"), ["trap EL2", "trap EL2", "ok"]);
  sys.CNTHCTL_EL2 = 0xc00n;
  assert.deepEqual(matrix("CNTPCT_EL0"), ["ok", "ok", "ok"]);
  assert.deepEqual(matrix("CNTP_CTL_EL0"), ["ok", "ok", "ok"]);
  setHcr(f, E2H, TGE);
  assert.equal(access(vcpu, 0, "r", "CNTVCT_EL0"), "trap EL2");
  sys.CNTHCTL_EL2 = 0x303n;
  f.log.length = 0;
  assert.equal(access(vcpu, 0, "r", "CNTVCT_EL0"), "ok");
  assert.equal(access(vcpu, 0, "w", "CNTP_CTL_EL0"), "ok");
  assert.deepEqual(f.log, ["read CNTPCT_EL0", "write CNTHP_CTL_EL2 4660"]);
  assert.equal(access(vcpu, 1, "w", "CNTFRQ_EL0"), "undefined EL1");
  assert.equal(access(fixture("cortex-a57", { el2: false }).vcpu, 1, "w", "CNTFRQ_EL0"), "ok");
});

Deno.test("the GIC: virtual interface, ICH_HCR_EL2's traps, SGIs", () => {
  const f = fixture(), { vcpu, log } = f;
  setHcr(f);
  access(vcpu, 1, "r", "ICC_IAR1_EL1");
  setHcr(f, IMO);
  access(vcpu, 1, "r", "ICC_IAR1_EL1");
  access(vcpu, 1, "r", "ICC_IAR0_EL1");
  access(vcpu, 1, "r", "ICC_RPR_EL1");
  access(vcpu, 2, "r", "ICC_IAR1_EL1");
  assert.deepEqual(log, [
    "read ICC_IAR1_EL1",
    "read ICV_IAR1_EL1",
    "read ICC_IAR0_EL1",
    "read ICV_RPR_EL1",
    "read ICC_IAR1_EL1",
  ]);
  assert.equal(access(vcpu, 1, "w", "ICC_SGI1R_EL1"), "trap EL2");
  setHcr(f, FMO);
  assert.equal(access(vcpu, 1, "w", "ICC_SGI1R_EL1"), "trap EL2");
  setHcr(f);
  assert.equal(access(vcpu, 1, "w", "ICC_SGI1R_EL1"), "ok");
  assert.equal(access(vcpu, 1, "r", "ICC_SGI1R_EL1"), "undefined EL1");
  assert.equal(access(vcpu, 1, "r", "ICH_VTR_EL2"), "undefined EL1");
  const traps = [["TC", "ICC_PMR_EL1", "r"], ["TC", "ICC_DIR_EL1", "w"], ["TALL0", "ICC_EOIR0_EL1", "w"]] as const;
  for (
    const [field, name, direction] of [...traps, ["TALL1", "ICC_BPR1_EL1", "r"], ["TDIR", "ICC_DIR_EL1", "w"]] as const
  ) {
    enterLevel(vcpu, 2);
    vcpu.state.x[0] = ICH_HCR_EL2.at[field].mask;
    writeSysreg(vcpu, findSysreg("ICH_HCR_EL2")!.key, 0);
    assert.equal(access(vcpu, 1, direction, name), "trap EL2", name);
    assert.equal(access(vcpu, 2, direction, name), "ok", name);
  }
  assert.equal(access(fixture("cortex-a57", { gicv3: false }).vcpu, 2, "r", "ICC_PMR_EL1"), "undefined EL2");
});

Deno.test("the names that are asked of the interrupt controller are those it answers to", () => {
  for (const { name, row } of ENCODINGS.values()) {
    if (row.owner === "gic") assert(GIC_SYSREGS.includes(name), name);
    if (row.virtual) assert.equal(row.virtual.name.replace("ICV", "ICC"), name);
  }
});

Deno.test("SP_EL0 is undefined while it is the stack pointer", () => {
  const { vcpu } = fixture(), key = findSysreg("SP_EL0")!.key;
  enterLevel(vcpu, 1);
  assert.equal(readSysreg(vcpu, key, 0), CONTINUE);
  vcpu.state.spsel = 0;
  readSysreg(vcpu, key, 0);
  assert.equal(exception(vcpu), "undefined EL1");
});

Deno.test("PSTATE registers", () => {
  const { vcpu } = fixture(), { state } = vcpu;
  access(vcpu, 1, "r", "CurrentEL");
  assert.equal(state.x[0], 4n);
  state.x[0] = 0xf000_0000n;
  access(vcpu, 1, "w", "NZCV");
  access(vcpu, 1, "r", "NZCV");
  assert.equal(state.x[0], 0n, "entering the level cleared the flags");
  enterLevel(vcpu, 1);
  for (const flags of [0xf000_0000n, 0x5000_0000n, 0xa000_0000n, 0n]) {
    state.x[0] = flags;
    writeSysreg(vcpu, findSysreg("NZCV")!.key, 0);
    readSysreg(vcpu, findSysreg("NZCV")!.key, 1);
    assert.equal(state.x[1], flags);
  }
  assert.equal(access(vcpu, 0, "r", "DAIF"), "trap EL1");
  assert.equal(access(vcpu, 0, "r", "CurrentEL"), "undefined EL1");
  vcpu.sys.CPACR_EL1 = 0n;
  recomputeControls(vcpu);
  assert.equal(access(vcpu, 0, "w", "FPCR"), "fp EL1");
  vcpu.sys.CPACR_EL1 = 3n << 20n;
  recomputeControls(vcpu);
  state.x[0] = -1n & 0xffff_ffffn;
  assert.equal(access(vcpu, 0, "w", "FPCR"), "ok");
  assert.equal(state.fpcr, 0x07c8_0000);
  state.x[0] = 0xffff_ffffn;
  access(vcpu, 0, "w", "FPSR");
  assert.equal(state.fpsr, 0x0800_009f);
});

Deno.test("reserved and fixed bits are not written", () => {
  const { vcpu } = fixture(), { state, sys } = vcpu;
  const write = (name: string, value: bigint) => {
    enterLevel(vcpu, 2);
    state.x[0] = value & 0xffff_ffff_ffff_ffffn;
    writeSysreg(vcpu, findSysreg(name)!.key, 0);
  };
  write("VBAR_EL2", -1n);
  assert.equal(sys.VBAR_EL2, 0xffff_ffff_ffff_f800n);
  write("HCR_EL2", 0n);
  assert.equal(sys.HCR_EL2, RW);
  write("SCTLR_EL2", -1n);
  assert.equal(sys.SCTLR_EL2 & 0x0300_0000n, 0n, "no big-endian data");
  write("ICC_SRE_EL2", 0n);
  assert.equal(sys.ICC_SRE_EL2, 15n);
  write("OSLAR_EL1", 0n);
  assert.equal(sys.OSLSR_EL1, 8n);
  write("OSLAR_EL1", 1n);
  assert.equal(sys.OSLSR_EL1, 10n);
});

Deno.test("system instructions: levels and traps, the operating system's before the hypervisor's", () => {
  const f = fixture(), { vcpu, log } = f, { sys } = vcpu;
  const run = (el: 0 | 1 | 2, ...at: [number, number, number, number]) => {
    enterLevel(vcpu, el);
    return sysInstruction(vcpu, sysregKey([1, ...at]), 0) === CONTINUE ? log.pop() : exception(vcpu);
  };
  setHcr(f);
  assert.equal(run(1, 0, 8, 7, 0), "tlbi VMALLE1");
  assert.equal(run(0, 0, 8, 7, 0), "undefined EL1");
  assert.equal(run(1, 4, 8, 7, 0), "undefined EL1");
  assert.equal(run(2, 4, 8, 7, 0), "tlbi ALLE2");
  assert.equal(run(1, 0, 7, 8, 0), "at S1E1R");
  assert.equal(run(1, 4, 7, 8, 4), "undefined EL1");
  assert.equal(run(2, 4, 7, 8, 4), "at S12E1R");
  assert.equal(run(1, 7, 7, 8, 4), "undefined EL1");
  setHcr(f, TTLB, TPU, TPC, TSW, TDZ);
  sys.SCTLR_EL1 &= ~(SCTLR.at.UCI.mask | SCTLR.at.DZE.mask);
  assert.equal(run(1, 0, 8, 7, 0), "trap EL2");
  assert.equal(run(2, 0, 8, 7, 0), "tlbi VMALLE1");
  assert.equal(run(0, 3, 7, 10, 1), "trap EL1");
  assert.equal(run(0, 3, 7, 4, 1), "trap EL1");
  sys.SCTLR_EL1 |= SCTLR.at.UCI.mask | SCTLR.at.DZE.mask;
  assert.equal(run(0, 3, 7, 10, 1), "trap EL2");
  assert.equal(run(0, 3, 7, 4, 1), "trap EL2");
  assert.equal(run(1, 0, 7, 6, 2), "trap EL2");
  assert.equal(run(1, 3, 7, 5, 1), "trap EL2");
  setHcr(f);
  assert.equal(run(0, 3, 7, 4, 1), "cache DC_ZVA");
  assert.equal(run(0, 3, 7, 12, 1), "cache DC_CVAP");
});

Deno.test("direct classes agree with the slow path", () => {
  const hcrs = [[], [TVM], [TRVM], [E2H], [E2H, TGE], [TGE], [TDZ]];
  for (const fields of hcrs) {
    const f = fixture(), { vcpu } = f, { state } = vcpu;
    setHcr(f, ...fields);
    for (const el of [0, 1, 2] as const) {
      if (el === 1 && fields.includes(TGE)) continue;
      for (const [key, { spelling }] of ENCODINGS) {
        const direct = directOf(key);
        if (!direct) continue;
        for (const [direction, c] of [["r", direct.readClass], ["w", direct.writeClass]] as const) {
          enterLevel(vcpu, el);
          if (c === undefined || (state.direct >>> c & 1) === 0) continue;
          const where = `${spelling} ${direction} EL${el} with HCR_EL2 ${vcpu.sys.HCR_EL2.toString(16)}`;
          const word: number = (direct.offset - SYSREGS_OFFSET) / 4, pattern = 0x0123_4567_89ab_cdefn;
          vcpu.sysWords[word] = 0x1357_9bdf;
          state.x[0] = pattern;
          const saved = vcpu.sysWords.slice();
          const status = direction === "r" ? readSysreg(vcpu, key, 0) : writeSysreg(vcpu, key, 0);
          assert.equal(status, CONTINUE, where);
          if (direction === "r") assert.equal(state.x[0]! & 0xffff_ffffn, 0x1357_9bdfn, where);
          else {
            assert.equal(vcpu.sysWords[word], 0x89ab_cdef, where);
            assert.equal(vcpu.sysWords[word + 1], 0x0123_4567, where);
          }
          vcpu.sysWords.set(saved);
          vcpu.sysWords[word] = vcpu.sysWords[word + 1] = 0;
          setHcr(f, ...fields);
        }
      }
      assert(state.direct >>> DIRECT.EL0 & 1);
    }
  }
});

Deno.test("DCZID_EL0.DZP and the DC ZVA class agree", () => {
  const f = fixture(), { vcpu } = f, { sys, state } = vcpu;
  for (const fields of [[], [TDZ], [E2H, TGE], [E2H, TGE, TDZ]]) {
    for (const dze of [0n, SCTLR.at.DZE.mask]) {
      sys.SCTLR_EL1 = dze;
      sys.SCTLR_EL2 = dze;
      setHcr(f, ...fields);
      for (const el of [0, 1, 2] as const) {
        access(vcpu, el, "r", "DCZID_EL0");
        enterLevel(vcpu, el);
        assert.equal((state.x[0]! & 16n) === 0n, (state.direct >>> DIRECT.DC_ZVA & 1) === 1);
      }
    }
  }
});

Deno.test("ESB defers a masked virtual SError", () => {
  const f = fixture(), { vcpu } = f, { sys, state } = vcpu;
  setHcr(f, HCR_EL2.at.AMO, HCR_EL2.at.VSE);
  sys.VSESR_EL2 = 0x44n;
  enterLevel(vcpu, 1);
  state.daif = 4;
  assert.equal(esb(vcpu), CONTINUE);
  assert.equal(sys.VDISR_EL2, 0x8000_0044n);
  assert.equal(sys.HCR_EL2 & HCR_EL2.at.VSE.mask, 0n);
});

Deno.test("the registers fit their place", () => {
  assert(SYSTEM_REGISTERS.size + SYSREGS_OFFSET <= 0x4000);
});
