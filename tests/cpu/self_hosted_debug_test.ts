import assert from "node:assert/strict";
import { HCR_EL2, MDCR_EL2, MDSCR_EL1 } from "../../src/arch/sysregs.ts";
import { brk, eret, svc } from "../../src/cpu/exceptions.ts";
import { recomputeControls } from "../../src/cpu/pstate.ts";
import {
  breakpointMatches,
  hasContextBreakpoint,
  isLoadExclusive,
  stepActive,
  watchedRange,
  watchpointMatches,
} from "../../src/cpu/self_hosted_debug.ts";
import { enterLevel, type Fixture, fixture } from "./fixture.ts";

const { SS, KDE, MDE } = MDSCR_EL1.at, { E2H, TGE } = HCR_EL2.at, { TDE } = MDCR_EL2.at;
const RW = 0x8000_0000n, EL10 = 3n << 1n, BAS = 15n << 5n, ON = 1n, PC = 0x4000_1000n;
const control = (type: number, linked = 0, levels = EL10) =>
  BigInt(type) << 20n | BigInt(linked) << 16n | BAS | levels | ON;

function unlocked(el: 0 | 1 | 2, mdscr: bigint, mdcr = 0n, hcr = RW, cpu?: "cortex-a57"): Fixture["vcpu"] {
  const { vcpu } = fixture(cpu), { sys } = vcpu;
  sys.OSLSR_EL1 = 8n;
  sys.MDSCR_EL1 = mdscr;
  sys.MDCR_EL2 = mdcr;
  sys.HCR_EL2 = hcr;
  recomputeControls(vcpu);
  enterLevel(vcpu, el);
  return vcpu;
}

Deno.test("debug exceptions are enabled below their target, and at it with KDE while not masked", () => {
  const active = (...args: Parameters<typeof unlocked>) => stepActive(unlocked(...args));
  assert.deepEqual([0, 1, 2].map((el) => active(el as 0, SS.mask)), [true, false, false]);
  assert.deepEqual([0, 1, 2].map((el) => active(el as 0, SS.mask | KDE.mask)), [true, true, false]);
  assert.deepEqual([0, 1, 2].map((el) => active(el as 0, SS.mask, TDE.mask)), [true, true, false]);
  assert.deepEqual([0, 1, 2].map((el) => active(el as 0, SS.mask | KDE.mask, TDE.mask)), [true, true, true]);
  assert.deepEqual([0, 1, 2].map((el) => active(el as 0, SS.mask, 0n, RW | TGE.mask)), [true, true, false]);
  const vcpu = unlocked(1, SS.mask | KDE.mask);
  vcpu.state.daif = 8;
  assert(!stepActive(vcpu));
});

Deno.test("the OS lock and the double lock suppress all but BRK", () => {
  const vcpu = unlocked(0, SS.mask | MDE.mask), { sys } = vcpu;
  sys.DBGBVR0_EL1 = PC;
  sys.DBGBCR0_EL1 = control(0);
  assert(stepActive(vcpu) && breakpointMatches(vcpu));
  sys.OSLSR_EL1 = 10n;
  assert(!stepActive(vcpu) && !breakpointMatches(vcpu));
  sys.OSLSR_EL1 = 8n;
  sys.OSDLR_EL1 = 1n;
  assert(!stepActive(vcpu) && !breakpointMatches(vcpu));
  sys.DBGPRCR_EL1 = 1n;
  assert(stepActive(vcpu) && breakpointMatches(vcpu));
  sys.OSLSR_EL1 = 10n;
  brk(vcpu, 5);
  assert.equal(sys.ESR_EL1, 0xf200_0005n);
});

Deno.test("ERET restores SS where stepping becomes active, and only there", () => {
  const vcpu = unlocked(1, SS.mask), { state, sys } = vcpu, psr = 1n << 21n;
  sys.ELR_EL1 = PC;
  sys.SPSR_EL1 = psr;
  eret(vcpu);
  assert.deepEqual([state.el, state.ss, state.pc], [0, 1, PC]);
  svc(vcpu, 0);
  assert.deepEqual([state.el, state.ss, sys.SPSR_EL1], [1, 0, 0n], "the SVC is the step");
  // Active-pending: the exception comes before the first instruction, and the same for an ERET that was stepped itself.
  eret(vcpu);
  assert.deepEqual([state.el, sys.ESR_EL1], [1, 0xca00_0022n]);
  sys.MDSCR_EL1 = 0n;
  sys.SPSR_EL1 = psr;
  eret(vcpu);
  assert.deepEqual([state.el, state.ss], [0, 0]);
});

Deno.test("breakpoints: levels, and combinations of HMC, SSC and PMC that are reserved", () => {
  const matches = (el: 0 | 1 | 2, hmc: bigint, ssc: bigint, pmc: bigint) => {
    const vcpu = unlocked(el, MDE.mask | KDE.mask, el === 2 ? TDE.mask : 0n);
    vcpu.sys.DBGBVR3_EL1 = PC;
    vcpu.sys.DBGBCR3_EL1 = BAS | ON | hmc << 13n | ssc << 14n | pmc << 1n;
    return breakpointMatches(vcpu);
  };
  const at = (hmc: bigint, ssc: bigint, pmc: bigint) =>
    ([0, 1, 2] as const).filter((el) => matches(el, hmc, ssc, pmc)).join("");
  assert.equal(at(0n, 0n, 1n), "1");
  assert.equal(at(0n, 0n, 2n), "0");
  assert.equal(at(0n, 0n, 3n), "01");
  assert.equal(at(1n, 0n, 1n), "12");
  assert.equal(at(1n, 0n, 3n), "012");
  assert.equal(at(1n, 3n, 0n), "2");
  // Reserved, of Secure state, or of AArch32.
  for (
    const [hmc, ssc, pmc] of [[0, 0, 0], [0, 1, 3], [0, 2, 3], [0, 3, 3], [1, 0, 0], [1, 0, 2], [1, 1, 3], [1, 3, 1]]
  ) {
    assert.equal(at(BigInt(hmc!), BigInt(ssc!), BigInt(pmc!)), "", `HMC ${hmc}, SSC ${ssc}, PMC ${pmc}`);
  }
});

Deno.test("contexts: CONTEXTIDR of both levels and VMID, linked and alone", () => {
  const check = (type: number, value: bigint, hcr = RW, el: 0 | 1 = 0) => {
    const mdcr = (hcr & TGE.mask) === 0n ? 0n : TDE.mask,
      vcpu = unlocked(el, MDE.mask | KDE.mask, mdcr, hcr),
      { sys } = vcpu;
    sys.CONTEXTIDR_EL1 = 0x11n;
    sys.CONTEXTIDR_EL2 = 0x22n;
    sys.VTTBR_EL2 = 0x1_0203n << 48n;
    sys.DBGBVR0_EL1 = PC;
    sys.DBGBVR5_EL1 = value;
    sys.DBGBCR5_EL1 = control(type);
    const alone = breakpointMatches(vcpu);
    assert.equal(hasContextBreakpoint(vcpu), (type & 1) === 0);
    sys.DBGBCR0_EL1 = control(1, 5);
    return { alone, linked: !alone && breakpointMatches(vcpu) };
  };
  const alone = { alone: true, linked: false }, linked = { alone: false, linked: true };
  const no = { alone: false, linked: false };
  const host = RW | E2H.mask | TGE.mask, vmid = 0x203n << 32n;
  assert.deepEqual(check(2, 0x11n), alone);
  assert.deepEqual(check(2, 0x12n), no);
  assert.deepEqual(check(3, 0x11n), linked);
  assert.deepEqual(check(3, 0x11n, RW, 1), linked);
  assert.deepEqual(check(3, 0x22n, host), linked);
  assert.deepEqual(check(7, 0x11n), linked);
  assert.deepEqual(check(7, 0x11n, host), no);
  assert.deepEqual(check(8, vmid), alone);
  assert.deepEqual(check(9, vmid), linked);
  assert.deepEqual(check(9, vmid + (1n << 32n)), no);
  assert.deepEqual(check(9, vmid, host), no);
  assert.deepEqual(check(11, vmid | 0x11n), linked);
  assert.deepEqual(check(11, vmid | 0x12n), no);
  assert.deepEqual(check(13, 0x22n << 32n), linked);
  assert.deepEqual(check(15, 0x22n << 32n | 0x11n), linked);
  assert.deepEqual(check(15, 0x23n << 32n | 0x11n), no);
  // Only the last two breakpoints compare contexts.
  const vcpu = unlocked(0, MDE.mask), { sys } = vcpu;
  sys.DBGBVR0_EL1 = PC;
  sys.DBGBCR0_EL1 = control(1, 3);
  sys.DBGBCR3_EL1 = control(3);
  assert(!breakpointMatches(vcpu));
});

Deno.test("watchpoints: ranges, kinds, bytes", () => {
  const vcpu = unlocked(1, MDE.mask | KDE.mask), { sys } = vcpu;
  const match = (lo: number, bytes: number, kind: "r" | "w" | "rw", unprivileged = false) =>
    watchpointMatches(vcpu, { lo, hi: 0, bytes, read: kind !== "w", write: kind !== "r", unprivileged });
  const set = (value: bigint, bas: number, lsc: bigint, levels = EL10, mask = 0n) => {
    sys.DBGWVR1_EL1 = value;
    sys.DBGWCR1_EL1 = mask << 24n | BigInt(bas) << 5n | lsc << 3n | levels | ON;
  };
  set(0x1000n, 0x3c, 3n);
  assert.deepEqual(watchedRange(vcpu, 1), { lo: 0x1002, hi: 0, bytes: 4 });
  assert.equal(match(0x1001, 1, "r"), undefined);
  assert.deepEqual(match(0x1000, 4, "r"), { at: 2, write: false });
  assert.deepEqual(match(0x1004, 8, "w"), { at: 0, write: true });
  assert.equal(match(0x1006, 2, "w"), undefined);
  assert.deepEqual(match(0x1002, 4, "rw"), { at: 0, write: false }, "a read would have matched");
  set(0x1000n, 0x81, 2n);
  assert.equal(match(0x1001, 6, "w"), undefined, "between two bytes");
  assert.deepEqual(match(0x1001, 8, "w"), { at: 6, write: true });
  assert.deepEqual(match(0x1000, 8, "rw"), { at: 0, write: true });
  assert.equal(match(0x1000, 8, "r"), undefined);
  set(0x1004n, 0xff, 1n);
  assert.deepEqual(watchedRange(vcpu, 1), { lo: 0x1004, hi: 0, bytes: 4 });
  set(0x8000_0000n, 0xff, 3n, EL10, 31n);
  assert.deepEqual(watchedRange(vcpu, 1), { lo: 0x8000_0000, hi: 0, bytes: 2 ** 31 });
  assert.deepEqual(match(0x7fff_fffc, 8, "r"), { at: 4, write: false });
  assert.deepEqual(match(0xffff_ffff, 1, "r"), { at: 0, write: false });
  // LDTR and STTR are EL0's, unless PSTATE.UAO says otherwise.
  set(0x1000n, 0xff, 3n, 2n << 1n);
  assert.equal(match(0x1000, 8, "r"), undefined);
  assert.deepEqual(match(0x1000, 8, "r", true), { at: 0, write: false });
  vcpu.state.uao = 1;
  assert.equal(match(0x1000, 8, "r", true), undefined);
});

Deno.test("load-exclusives, by their encoding", () => {
  for (const word of [0x085f7c20, 0xc85f7c20, 0xc85ffc20, 0xc87f0820, 0x887f8820]) assert(isLoadExclusive(word));
  // STXR, LDAR, CASP, LDR, LDP.
  for (const word of [0xc8027c20, 0xc8dffc20, 0x48607c82, 0xf9400020, 0xa9400820]) assert(!isLoadExclusive(word));
});
