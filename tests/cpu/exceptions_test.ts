import assert from "node:assert/strict";
import { EC } from "../../src/arch/esr.ts";
import { HCR_EL2, SCTLR } from "../../src/arch/sysregs.ts";
import {
  brk,
  dataAbort,
  eret,
  fpTrapped,
  hvc,
  instructionAbort,
  interruptPending,
  type MemoryFault,
  pcAlignment,
  smc,
  spAlignment,
  svc,
  takePendingInterrupt,
  undefined_,
} from "../../src/cpu/exceptions.ts";
import { packSpsr, readSp, recomputeControls, setLevel, writePstate, writeSp } from "../../src/cpu/pstate.ts";
import { CONTINUE, LEAVE, REFETCH } from "../../src/cpu/status.ts";
import { msrImmediate, wfe, wfi } from "../../src/cpu/sysreg_access.ts";
import { HALT, PENDING } from "../../src/cpu/vcpu.ts";
import { enterLevel, exception, type Fixture, fixture } from "./fixture.ts";

const { TGE, E2H, IMO, FMO, AMO, VI, VF, VSE, TSC, HCD, TWI, TWE } = HCR_EL2.at;
const RW = 0x8000_0000n;
/** Sets HCR_EL2. */
function setHcr({ vcpu }: Fixture, ...fields: { mask: bigint }[]): void {
  vcpu.sys.HCR_EL2 = fields.reduce((value, f) => value | f.mask, RW);
  recomputeControls(vcpu);
}
const class_ = (esr: bigint) => Number(esr >> 26n);

Deno.test("reset is at the highest level, masked, with the stack pointer of that level", () => {
  const { vcpu } = fixture();
  assert.equal(packSpsr(vcpu.state), 0x3c9);
  assert.equal(vcpu.sys.MIDR_EL1, 0x414fd0b1n);
  assert.equal(vcpu.sys.VMPIDR_EL2, 0x8000_0000n);
  assert.equal(packSpsr(fixture("cortex-a57", { el2: false }).vcpu.state), 0x3c5);
});

Deno.test("SVC from EL0 and its return", () => {
  const { vcpu } = fixture(), { state, sys } = vcpu;
  writeSp(vcpu, 0, 0x1110n);
  writeSp(vcpu, 1, 0x2220n);
  enterLevel(vcpu, 0);
  writePstate(vcpu, 0x6000_0000);
  assert.equal(state.x[32], 0x1110n);
  assert.equal(svc(vcpu, 0x42), REFETCH);
  assert.equal(state.el, 1);
  assert.equal(state.daif, 15);
  assert.equal(state.x[32], 0x2220n);
  assert.equal(state.pc, 0x1_0400n);
  assert.equal(sys.ELR_EL1, 0x4000_1004n);
  assert.equal(sys.SPSR_EL1, 0x6000_0000n);
  assert.equal(sys.ESR_EL1, 0x5600_0042n);
  assert.equal(eret(vcpu), REFETCH);
  assert.equal(packSpsr(state), 0x6000_0000);
  assert.equal(state.pc, 0x4000_1004n);
  assert.equal(state.x[32], 0x1110n);
  assert.equal(readSp(vcpu, 1), 0x2220n);
  assert.equal(state.event, 1);
});

Deno.test("vectors: from the same level with SP_EL0 and SP_ELx, from a lower level", () => {
  const { vcpu } = fixture(), { state } = vcpu;
  enterLevel(vcpu, 1);
  undefined_(vcpu);
  assert.equal(state.pc, 0x1_0200n);
  writePstate(vcpu, 4);
  undefined_(vcpu);
  assert.equal(state.pc, 0x1_0000n);
  enterLevel(vcpu, 1);
  hvc(vcpu, 7);
  assert.equal(state.pc, 0x2_0400n);
  assert.equal(vcpu.sys.ESR_EL2, 0x5a00_0007n);
  assert.equal(vcpu.sys.ELR_EL2, 0x4000_1004n);
  assert.equal(vcpu.sys.SPSR_EL2, 5n);
});

Deno.test("a return address carries into the high word", () => {
  const { vcpu } = fixture();
  enterLevel(vcpu, 0);
  vcpu.state.pc = 0x1_ffff_fffcn;
  svc(vcpu, 0);
  assert.equal(vcpu.sys.ELR_EL1, 0x2_0000_0000n);
});

Deno.test("HCR_EL2.TGE sends EL0's exceptions to EL2", () => {
  const f = fixture(), { vcpu } = f;
  setHcr(f, TGE);
  for (const [take, ec] of [[() => svc(vcpu, 1), EC.SVC], [() => undefined_(vcpu), EC.UNKNOWN]] as const) {
    enterLevel(vcpu, 0);
    take();
    assert.equal(vcpu.state.el, 2);
    assert.equal(vcpu.state.pc, 0x2_0400n);
    assert.equal(class_(vcpu.sys.ESR_EL2), ec);
  }
  enterLevel(vcpu, 0);
  brk(vcpu, 3);
  assert.equal(vcpu.sys.ESR_EL2, 0xf200_0003n);
  enterLevel(vcpu, 0);
  vcpu.state.pc = 0x1002n;
  pcAlignment(vcpu);
  assert.equal(vcpu.sys.FAR_EL2, 0x1002n);
  enterLevel(vcpu, 0);
  spAlignment(vcpu);
  assert.equal(class_(vcpu.sys.ESR_EL2), EC.SP_ALIGNMENT);
});

Deno.test("PSTATE.PAN is set on entry when SCTLR.SPAN is clear", () => {
  const { vcpu } = fixture();
  enterLevel(vcpu, 0);
  vcpu.sys.SCTLR_EL1 |= SCTLR.at.SPAN.mask;
  svc(vcpu, 0);
  assert.equal(vcpu.state.pan, 0);
  enterLevel(vcpu, 0);
  vcpu.sys.SCTLR_EL1 &= ~SCTLR.at.SPAN.mask;
  svc(vcpu, 0);
  assert.equal(vcpu.state.pan, 1);
  const old = fixture("cortex-a57").vcpu;
  enterLevel(old, 0);
  old.sys.SCTLR_EL1 = 0n;
  svc(old, 0);
  assert.equal(old.state.pan, 0);
});

Deno.test("HVC and SMC: undefined at EL0, HCD, TSC, the conduit of PSCI", () => {
  const f = fixture(), { vcpu, log } = f;
  enterLevel(vcpu, 0);
  hvc(vcpu, 0);
  assert.equal(exception(vcpu), "undefined EL1");
  enterLevel(vcpu, 0);
  smc(vcpu, 0);
  assert.equal(exception(vcpu), "undefined EL1");
  setHcr(f, HCD);
  enterLevel(vcpu, 1);
  hvc(vcpu, 0);
  assert.equal(exception(vcpu), "undefined EL1");
  setHcr(f, TSC);
  enterLevel(vcpu, 1);
  smc(vcpu, 0x55);
  assert.equal(vcpu.sys.ESR_EL2, 0x5e00_0055n);
  assert.equal(vcpu.sys.ELR_EL2, 0x4000_1000n);
  assert.deepEqual(log, []);
  assert.equal(smc(vcpu, 0), CONTINUE);
  assert.deepEqual(log, ["psci"]);
  const without = fixture("cortex-a57", { el2: false });
  assert.equal(hvc(without.vcpu, 0), CONTINUE);
  assert.deepEqual(without.log, ["psci"]);
  smc(without.vcpu, 0);
  assert.equal(exception(without.vcpu), "undefined EL1");
});

const FAULT: MemoryFault = {
  fsc: 0x07,
  stage: 1,
  s1ptw: false,
  write: true,
  maintenance: false,
  vaLo: 0x1234_5678,
  vaHi: 0xffff_0000,
  ipa: 0,
  syndrome: 0,
};

Deno.test("aborts: class by level, address registers, instruction syndrome only for stage 2", () => {
  const f = fixture(), { vcpu } = f, { sys } = vcpu;
  enterLevel(vcpu, 0);
  dataAbort(vcpu, { ...FAULT, syndrome: 0x7ff });
  assert.equal(sys.ESR_EL1, 0x9200_0047n);
  assert.equal(sys.FAR_EL1, 0xffff_0000_1234_5678n);
  enterLevel(vcpu, 1);
  instructionAbort(vcpu, FAULT);
  assert.equal(sys.ESR_EL1, 0x8600_0007n);
  enterLevel(vcpu, 1);
  dataAbort(vcpu, { ...FAULT, stage: 2, syndrome: 0x400 | 3 << 8 | 5 << 2, ipa: 0x9abc_def1_2345, write: false });
  assert.equal(sys.ESR_EL2, BigInt(0x9200_0007 + (0x400 | 3 << 8 | 5 << 2) * 0x4000));
  assert.equal(sys.HPFAR_EL2, 0x9abc_def1_2345n >> 12n << 4n);
  enterLevel(vcpu, 1);
  dataAbort(vcpu, { ...FAULT, stage: 2, s1ptw: true, syndrome: 0x400, write: false, maintenance: true });
  assert.equal(sys.ESR_EL2, 0x9200_0187n);
  enterLevel(vcpu, 2);
  dataAbort(vcpu, FAULT);
  assert.equal(sys.ESR_EL2, 0x9600_0047n);
});

Deno.test("an external abort goes to EL2 with HCR_EL2.TEA, a translation fault does not", () => {
  const f = fixture(), { vcpu } = f;
  setHcr(f, HCR_EL2.at.TEA);
  enterLevel(vcpu, 1);
  dataAbort(vcpu, { ...FAULT, fsc: 0x10 });
  assert.equal(vcpu.state.el, 2);
  enterLevel(vcpu, 1);
  dataAbort(vcpu, FAULT);
  assert.equal(vcpu.state.el, 1);
});

Deno.test("FP access traps", () => {
  const f = fixture(), { vcpu } = f, { sys, state } = vcpu;
  const at = (el: 0 | 1 | 2) => {
    recomputeControls(vcpu);
    enterLevel(vcpu, el);
    if (state.fpTrap === 0) return "none";
    fpTrapped(vcpu);
    return exception(vcpu);
  };
  sys.CPACR_EL1 = 0n;
  assert.deepEqual([at(0), at(1), at(2)], ["fp EL1", "fp EL1", "none"]);
  assert.equal(sys.ESR_EL1, 0x1fe0_0000n);
  sys.CPACR_EL1 = 1n << 20n;
  assert.deepEqual([at(0), at(1)], ["fp EL1", "none"]);
  sys.CPACR_EL1 = 3n << 20n;
  assert.deepEqual([at(0), at(1)], ["none", "none"]);
  sys.CPTR_EL2 |= 1n << 10n;
  assert.deepEqual([at(0), at(1), at(2)], ["fp EL2", "fp EL2", "fp EL2"]);
  sys.CPACR_EL1 = 0n;
  assert.equal(at(1), "fp EL1");
  sys.HCR_EL2 = RW | TGE.mask;
  assert.equal(at(0), "undefined EL2");
  sys.HCR_EL2 = RW | E2H.mask;
  sys.CPACR_EL1 = 3n << 20n;
  sys.CPTR_EL2 = 0n;
  assert.deepEqual([at(0), at(1), at(2)], ["fp EL2", "fp EL2", "fp EL2"]);
  sys.CPTR_EL2 = 1n << 20n;
  assert.deepEqual([at(0), at(1), at(2)], ["none", "none", "none"]);
  sys.HCR_EL2 = RW | E2H.mask | TGE.mask;
  sys.CPACR_EL1 = 0n;
  assert.deepEqual([at(0), at(2)], ["fp EL2", "none"]);
  sys.CPTR_EL2 = 3n << 20n;
  assert.deepEqual([at(0), at(2)], ["none", "none"]);
});

Deno.test("illegal returns set PSTATE.IL and stay at the level", () => {
  const f = fixture(), { vcpu } = f, { sys, state } = vcpu;
  const illegal = (from: 1 | 2, spsr: bigint, hcr = RW) => {
    sys.HCR_EL2 = hcr;
    enterLevel(vcpu, from);
    if (from === 2) [sys.SPSR_EL2, sys.ELR_EL2] = [spsr, 0x8000n];
    else [sys.SPSR_EL1, sys.ELR_EL1] = [spsr, 0x8000n];
    eret(vcpu);
    const taken = class_(from === 2 ? sys.ESR_EL2 : sys.ESR_EL1) === EC.ILLEGAL_STATE;
    if (taken) {
      assert.equal(state.el, from);
      assert.equal(from === 2 ? sys.ELR_EL2 : sys.ELR_EL1, 0x8000n);
      assert.equal((from === 2 ? sys.SPSR_EL2 : sys.SPSR_EL1) & 0x10_000fn, 0x10_0000n | (from === 2 ? 9n : 5n));
      sys.ESR_EL1 = sys.ESR_EL2 = 0n;
    }
    return taken;
  };
  assert(illegal(1, 9n), "to a higher level");
  assert(illegal(2, 13n), "to EL3");
  assert(illegal(2, 0x10n), "to AArch32");
  assert(illegal(2, 1n), "EL0 with SPSel");
  assert(illegal(2, 2n), "reserved bit");
  assert(illegal(2, 5n, RW | TGE.mask), "to EL1 with TGE");
  assert(!illegal(2, 5n));
  assert(!illegal(2, 4n));
  assert(!illegal(2, 0n, RW | TGE.mask));
  assert(!illegal(1, 0n));
});

Deno.test("a legal return to PSTATE.IL = 1 takes Illegal Execution state there", () => {
  const { vcpu } = fixture(), { sys, state } = vcpu;
  enterLevel(vcpu, 2);
  sys.SPSR_EL2 = 0x10_0000n;
  sys.ELR_EL2 = 0x8000n;
  eret(vcpu);
  assert.equal(state.el, 1);
  assert.equal(class_(sys.ESR_EL1), EC.ILLEGAL_STATE);
  assert.equal(sys.SPSR_EL1, 0x10_0000n);
});

Deno.test("ERET ignores the top byte where TCR_ELx.TBI says so", () => {
  const { vcpu } = fixture(), { sys, state } = vcpu;
  const to = (elr: bigint, tcr: bigint) => {
    enterLevel(vcpu, 1);
    sys.TCR_EL1 = tcr;
    sys.SPSR_EL1 = 0n;
    sys.ELR_EL1 = elr;
    eret(vcpu);
    return state.pc;
  };
  assert.equal(to(0x1200_0000_0000_1000n, 0n), 0x1200_0000_0000_1000n);
  assert.equal(to(0x1200_0000_0000_1000n, 1n << 37n), 0x1000n);
  assert.equal(to(0x12ff_0000_0000_1000n, 1n << 38n), 0xffff_0000_0000_1000n);
  assert.equal(to(0x12ff_0000_0000_1000n, 1n << 37n), 0x12ff_0000_0000_1000n);
});

Deno.test("physical interrupts: routing and masking", () => {
  const f = fixture(), { vcpu } = f, { state } = vcpu;
  // Where an IRQ is taken from each level, unmasked and masked; 0: nowhere.
  const taken = (el: 0 | 1 | 2, masked: boolean) => {
    enterLevel(vcpu, el);
    state.daif = masked ? 15 : 0;
    state.pending = PENDING.IRQ;
    const was = takePendingInterrupt(vcpu);
    state.pending = 0;
    if (was) assert.equal(state.pc & 0x7ffn, vcpu.state.el > el ? 0x480n : 0x280n);
    return was ? state.el : 0;
  };
  const matrix = () => ([0, 1, 2] as const).map((el) => [taken(el, false), taken(el, true)]);
  setHcr(f);
  assert.deepEqual(matrix(), [[1, 0], [1, 0], [0, 0]]);
  setHcr(f, IMO);
  assert.deepEqual(matrix(), [[2, 2], [2, 2], [2, 0]]);
  setHcr(f, TGE);
  assert.deepEqual([taken(0, false), taken(0, true), taken(2, false), taken(2, true)], [2, 2, 2, 0]);
  setHcr(f, TGE, E2H);
  assert.deepEqual([taken(0, false), taken(0, true), taken(2, false), taken(2, true)], [2, 0, 2, 0]);
  setHcr(f, FMO, AMO);
  assert.deepEqual(matrix(), [[1, 0], [1, 0], [0, 0]]);
});

Deno.test("virtual interrupts are taken to EL1 below EL2, when enabled and not masked", () => {
  const f = fixture(), { vcpu } = f, { state, sys } = vcpu;
  const taken = (el: 0 | 1 | 2, daif: number, pending: number) => {
    enterLevel(vcpu, el);
    state.daif = daif;
    state.pending = pending;
    const was = takePendingInterrupt(vcpu);
    state.pending = 0;
    return was ? `EL${state.el} ${(state.pc & 0x1ffn).toString(16)}` : "none";
  };
  setHcr(f);
  assert.equal(taken(1, 0, PENDING.VIRQ), "none");
  setHcr(f, IMO, FMO, AMO);
  assert.equal(taken(1, 0, PENDING.VIRQ), "EL1 80");
  assert.equal(taken(0, 0, PENDING.VFIQ), "EL1 100");
  assert.equal(taken(1, 2, PENDING.VIRQ), "none");
  assert.equal(taken(2, 0, PENDING.VIRQ), "none");
  setHcr(f, IMO, VI);
  assert.equal(taken(1, 0, 0), "EL1 80");
  setHcr(f, FMO, VF);
  assert.equal(taken(1, 0, 0), "EL1 100");
  setHcr(f, VI);
  assert.equal(taken(1, 0, 0), "none");
  setHcr(f, IMO, VI, TGE);
  assert.equal(taken(0, 0, 0), "none");
  setHcr(f, AMO, VSE);
  sys.VSESR_EL2 = 0x123n;
  assert.equal(taken(1, 0, 0), "EL1 180");
  assert.equal(sys.ESR_EL1, 0xbe00_0123n);
  assert.equal(sys.HCR_EL2 & VSE.mask, 0n);
  setHcr(f, IMO, FMO);
  assert.equal(taken(1, 0, PENDING.VIRQ | PENDING.IRQ), "EL2 80");
});

Deno.test("an interrupt is taken at once when DAIFClr or ERET unmasks it", () => {
  const f = fixture(), { vcpu } = f, { state, sys } = vcpu;
  setHcr(f);
  enterLevel(vcpu, 1);
  state.daif = 15;
  state.pending = PENDING.IRQ;
  assert.equal(msrImmediate(vcpu, 3, 7, 2), REFETCH);
  assert.equal(state.pc, 0x1_0280n);
  assert.equal(sys.ELR_EL1, 0x4000_1004n);
  assert.equal(sys.SPSR_EL1, 0x345n);
  sys.SPSR_EL1 = 0n;
  sys.ELR_EL1 = 0x9000n;
  eret(vcpu);
  assert.equal(state.pc, 0x1_0480n);
  assert.equal(sys.ELR_EL1, 0x9000n);
  assert.equal(msrImmediate(vcpu, 3, 6, 2), CONTINUE);
});

Deno.test("WFI and WFE: wake-up, waiting, traps", () => {
  const f = fixture(), { vcpu } = f, { state, sys } = vcpu;
  setHcr(f);
  sys.SCTLR_EL1 |= SCTLR.at.nTWI.mask;
  enterLevel(vcpu, 1);
  state.daif = 15;
  state.event = 0;
  assert.equal(wfi(vcpu), LEAVE);
  assert.deepEqual([state.halt, state.pc], [HALT.WFI, 0x4000_1004n]);
  state.halt = HALT.RUNNING;
  state.pending = PENDING.IRQ;
  assert(interruptPending(vcpu));
  assert.equal(wfi(vcpu), CONTINUE);
  state.pending = 0;
  setHcr(f, TWI, TWE);
  for (const [run, ti] of [[wfi, 0n], [wfe, 1n]] as const) {
    enterLevel(vcpu, 1);
    state.event = 0;
    assert.equal(run(vcpu), REFETCH);
    assert.equal(sys.ESR_EL2, 0x7e0_0000n | ti);
    assert.equal(sys.ELR_EL2, 0x4000_1000n);
  }
  enterLevel(vcpu, 1);
  state.event = 1;
  assert.equal(wfe(vcpu), CONTINUE);
  assert.equal(state.event, 0);
  enterLevel(vcpu, 0);
  sys.SCTLR_EL1 &= ~SCTLR.at.nTWE.mask;
  assert.equal(wfe(vcpu), REFETCH);
  assert.equal(sys.ESR_EL1, 0x7e0_0001n);
  enterLevel(vcpu, 2);
  assert.equal(wfe(vcpu), LEAVE);
});

Deno.test("SPSel switches the live stack pointer", () => {
  const { vcpu } = fixture(), { state, sys } = vcpu;
  enterLevel(vcpu, 1);
  state.x[32] = 0x1000n;
  msrImmediate(vcpu, 0, 5, 0);
  state.x[32] = 0x2000n;
  assert.deepEqual([sys.SP_EL1, readSp(vcpu, 0)], [0x1000n, 0x2000n]);
  setLevel(vcpu, 2, 0);
  assert.equal(state.x[32], 0x2000n);
  setLevel(vcpu, 2, 1);
  assert.equal(sys.SP_EL0, 0x2000n);
});

Deno.test("MSR (immediate): levels, features and the trap of DAIF from EL0", () => {
  const { vcpu } = fixture(), { state, sys } = vcpu;
  enterLevel(vcpu, 1);
  assert.equal(msrImmediate(vcpu, 0, 4, 1), CONTINUE);
  assert.equal(state.pan, 1);
  assert.equal(msrImmediate(vcpu, 0, 3, 1), CONTINUE);
  assert.equal(state.uao, 1);
  enterLevel(vcpu, 0);
  msrImmediate(vcpu, 0, 5, 1);
  assert.equal(exception(vcpu), "undefined EL1");
  enterLevel(vcpu, 0);
  msrImmediate(vcpu, 3, 6, 2);
  // op0 = 0, op1 = 3, CRn = 4, CRm = 2, op2 = 6, Rt = 31
  assert.equal(sys.ESR_EL1, BigInt(0x6200_0000 | 6 << 17 | 3 << 14 | 4 << 10 | 31 << 5 | 2 << 1));
  sys.SCTLR_EL1 |= SCTLR.at.UMA.mask;
  enterLevel(vcpu, 0);
  assert.equal(msrImmediate(vcpu, 3, 6, 2), CONTINUE);
  const old = fixture("cortex-a57").vcpu;
  enterLevel(old, 1);
  msrImmediate(old, 0, 4, 1);
  assert.equal(exception(old), "undefined EL1");
});
