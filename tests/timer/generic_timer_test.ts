import assert from "node:assert/strict";
import { REGISTERS, SYSREG_NAMES, SYSTEM_REGISTERS, type SystemRegisters } from "../../src/arch/sysregs.ts";
import { GenericTimers, TIMER_INTERRUPTS, type TimerRegisters } from "../../src/timer/generic_timer.ts";

function registers(): TimerRegisters {
  return {
    CNTP_CTL_EL0Lo: 0,
    CNTP_CVAL_EL0Lo: 0,
    CNTP_CVAL_EL0Hi: 0,
    CNTV_CTL_EL0Lo: 0,
    CNTV_CVAL_EL0Lo: 0,
    CNTV_CVAL_EL0Hi: 0,
    CNTHP_CTL_EL2Lo: 0,
    CNTHP_CVAL_EL2Lo: 0,
    CNTHP_CVAL_EL2Hi: 0,
    CNTHV_CTL_EL2Lo: 0,
    CNTHV_CVAL_EL2Lo: 0,
    CNTHV_CVAL_EL2Hi: 0,
    CNTVOFF_EL2Lo: 0,
    CNTVOFF_EL2Hi: 0,
    CNTKCTL_EL1Lo: 0,
    CNTHCTL_EL2Lo: 0,
  };
}

class Bench {
  now = 0;
  readonly levels = new Map<number, boolean>();
  readonly registers = [registers(), registers()];
  rearmed = 0;
  readonly timers = new GenericTimers({
    clock: { ticks: () => this.now },
    registers: this.registers,
    line: (cpu, intid) => (level) => this.levels.set(cpu * 100 + intid, level),
    rearmed: () => this.rearmed++,
  });

  at(now: number): this {
    this.now = now;
    this.timers.update(0);
    return this;
  }
  high(intid: number, cpu = 0): boolean {
    return this.levels.get(cpu * 100 + intid) ?? false;
  }
  read(name: string, cpu = 0): bigint {
    return this.timers.readSysreg(name, cpu);
  }
  write(name: string, value: bigint, cpu = 0): void {
    this.timers.writeSysreg(name, cpu, value);
  }
}

const ALL = 2n ** 64n - 1n;

Deno.test("the counters follow the clock, the virtual one less CNTVOFF", () => {
  const b = new Bench().at(2 ** 40 + 5);
  assert.equal(b.read("CNTPCT_EL0"), 2n ** 40n + 5n);
  b.write("CNTVOFF_EL2", 2n ** 40n);
  assert.equal(b.read("CNTVCT_EL0"), 5n);
  b.write("CNTVOFF_EL2", 2n ** 40n + 6n);
  assert.equal(b.read("CNTVCT_EL0"), ALL);
  b.write("CNTVOFF_EL2", ALL);
  assert.equal(b.read("CNTVCT_EL0"), 2n ** 40n + 6n);
  assert.equal(b.read("CNTVCT_EL0", 1), 2n ** 40n + 5n, "the offset is per vCPU");
});

for (const [name, el] of [["CNTP", "EL0"], ["CNTV", "EL0"], ["CNTHP", "EL2"], ["CNTHV", "EL2"]] as const) {
  Deno.test(`${name} raises interrupt ${TIMER_INTERRUPTS[name]} when its value is reached`, () => {
    const b = new Bench().at(100), intid = TIMER_INTERRUPTS[name];
    b.write(`${name}_CVAL_${el}`, 200n);
    assert.equal(b.timers.nextDeadline(0), Infinity);
    b.write(`${name}_CTL_${el}`, 1n);
    assert.equal(b.timers.nextDeadline(0), 200);
    assert.equal(b.at(199).high(intid), false);
    assert.equal(b.read(`${name}_CTL_${el}`), 1n);
    assert.equal(b.at(200).high(intid), true);
    assert.equal(b.read(`${name}_CTL_${el}`), 5n);
    assert.equal(b.timers.nextDeadline(0), Infinity);
    assert.equal([...b.levels].filter(([, level]) => level).length, 1, "no other line");
  });
}

Deno.test("IMASK lowers the line and leaves ISTATUS", () => {
  const b = new Bench().at(100);
  b.write("CNTP_CTL_EL0", 1n);
  assert.equal(b.high(30), true);
  b.write("CNTP_CTL_EL0", 3n);
  assert.equal(b.high(30), false);
  assert.equal(b.read("CNTP_CTL_EL0"), 7n);
  assert.equal(b.timers.nextDeadline(0), Infinity);
  b.write("CNTP_CTL_EL0", 0xfffffffffffffff5n);
  assert.equal(b.high(30), true, "a write of 1 through reserved bits and ISTATUS");
  assert.equal(b.registers[0]!.CNTP_CTL_EL0Lo, 1);
});

Deno.test("a disabled timer has no line and no status", () => {
  const b = new Bench().at(100);
  b.write("CNTP_CTL_EL0", 1n);
  b.write("CNTP_CTL_EL0", 0n);
  assert.equal(b.high(30), false);
  assert.equal(b.read("CNTP_CTL_EL0"), 0n);
});

Deno.test("a new compare value lowers the line at once and reports the new deadline", () => {
  const b = new Bench().at(100);
  b.write("CNTV_CTL_EL0", 1n);
  assert.equal(b.high(27), true);
  const before = b.rearmed;
  b.write("CNTV_CVAL_EL0", 150n);
  assert.equal(b.high(27), false);
  assert.equal(b.rearmed, before + 1);
});

Deno.test("TVAL is a signed distance from the counter", () => {
  const b = new Bench().at(1000);
  b.write("CNTP_TVAL_EL0", 50n);
  assert.equal(b.read("CNTP_CVAL_EL0"), 1050n);
  assert.equal(b.at(1060).read("CNTP_TVAL_EL0"), 0xfffffff6n, "minus ten in 32 bits");
  b.write("CNTP_TVAL_EL0", 0xffffffffn);
  assert.equal(b.read("CNTP_CVAL_EL0"), 1059n);
  b.write("CNTP_TVAL_EL0", 0x80000000n);
  assert.equal(b.read("CNTP_CVAL_EL0"), (1060n - 2n ** 31n) & ALL);
  b.write("CNTP_TVAL_EL0", 0x1_0000_0005n);
  assert.equal(b.read("CNTP_CVAL_EL0"), 1065n, "bits above 31 are ignored");
});

Deno.test("virtual TVAL counts from the virtual counter", () => {
  const b = new Bench().at(1000);
  b.write("CNTVOFF_EL2", 900n);
  b.write("CNTV_TVAL_EL0", 10n);
  assert.equal(b.read("CNTV_CVAL_EL0"), 110n);
  b.write("CNTV_CTL_EL0", 1n);
  assert.equal(b.timers.nextDeadline(0), 1010);
  assert.equal(b.at(1009).high(27), false);
  assert.equal(b.at(1010).high(27), true);
});

Deno.test("CNTVOFF moves the virtual timers' line, the hypervisor's virtual timer ignores it", () => {
  const b = new Bench().at(1000);
  b.write("CNTV_CVAL_EL0", 500n);
  b.write("CNTV_CTL_EL0", 1n);
  b.write("CNTHV_CVAL_EL2", 500n);
  b.write("CNTHV_CTL_EL2", 1n);
  assert.deepEqual([b.high(27), b.high(28)], [true, true]);
  b.write("CNTVOFF_EL2", 600n);
  assert.deepEqual([b.high(27), b.high(28)], [false, true]);
  assert.equal(b.timers.nextDeadline(0), 1100);
});

Deno.test("compare values are unsigned 64-bit", () => {
  const b = new Bench().at(1000);
  b.write("CNTP_CTL_EL0", 1n);
  b.write("CNTP_CVAL_EL0", ALL);
  assert.equal(b.high(30), false, "not minus one");
  assert.equal(b.timers.nextDeadline(0), Infinity);
  b.write("CNTP_CVAL_EL0", 2n ** 32n + 1n);
  assert.equal(b.at(2 ** 32).high(30), false);
  assert.equal(b.at(2 ** 32 + 1).high(30), true);
  b.write("CNTP_CVAL_EL0", 0x1_ffff_ffffn);
  assert.equal(b.high(30), false);
  assert.equal(b.at(2 ** 33).high(30), true);
});

Deno.test("a virtual counter that wraps to zero ends the condition", () => {
  const b = new Bench().at(1000);
  b.write("CNTVOFF_EL2", 1100n);
  b.write("CNTV_CVAL_EL0", 5n);
  b.write("CNTV_CTL_EL0", 1n);
  assert.equal(b.high(27), true, "the counter is near 2^64");
  assert.equal(b.timers.nextDeadline(0), 1100);
  assert.equal(b.at(1100).high(27), false);
  assert.equal(b.timers.nextDeadline(0), 1105);
  assert.equal(b.at(1105).high(27), true);
});

Deno.test("the nearest of several deadlines counts, per vCPU", () => {
  const b = new Bench().at(0);
  b.write("CNTP_CVAL_EL0", 300n);
  b.write("CNTP_CTL_EL0", 1n);
  b.write("CNTHP_CVAL_EL2", 200n);
  b.write("CNTHP_CTL_EL2", 1n);
  b.write("CNTV_CVAL_EL0", 100n);
  b.write("CNTV_CTL_EL0", 3n);
  assert.equal(b.timers.nextDeadline(0), 200);
  assert.equal(b.timers.nextDeadline(1), Infinity);
});

Deno.test("event streams report the next transition of their counter bit", () => {
  const b = new Bench().at(100);
  assert.equal(b.timers.nextStreamEvent(0), Infinity);
  b.registers[0]!.CNTHCTL_EL2Lo = (1 << 2) | (5 << 4); // bit 5 of CNTPCT from 0 to 1: 32 modulo 64
  assert.equal(b.timers.nextStreamEvent(0), 160);
  b.registers[0]!.CNTHCTL_EL2Lo |= 1 << 3;
  assert.equal(b.timers.nextStreamEvent(0), 128);
  b.registers[0]!.CNTHCTL_EL2Lo = 0;
  b.registers[0]!.CNTKCTL_EL1Lo = (1 << 2) | (5 << 4);
  b.write("CNTVOFF_EL2", 110n); // the virtual counter is at -10
  assert.equal(b.timers.nextStreamEvent(0), 142);
  b.now = 142;
  assert.equal(b.timers.nextStreamEvent(0), 206, "always after now");
});

Deno.test("counters ignore writes", () => {
  const b = new Bench().at(7);
  b.write("CNTVCT_EL0", 100n);
  b.write("CNTPCT_EL0", 100n);
  assert.equal(b.read("CNTPCT_EL0"), 7n);
});

Deno.test("the vCPU's system registers are what the timers need, and every timer register has its owner", () => {
  const system: SystemRegisters = SYSTEM_REGISTERS.at(new SharedArrayBuffer(SYSTEM_REGISTERS.size), 0);
  const timers = new GenericTimers({ clock: { ticks: () => 5 }, registers: [system], line: () => () => {} });
  for (const name of SYSREG_NAMES) if (REGISTERS[name].owner === "timer") timers.readSysreg(name, 0);
  timers.writeSysreg("CNTHV_CVAL_EL2", 0, 0x1_2345_6789_abcdn);
  assert.equal(system.CNTHV_CVAL_EL2, 0x1_2345_6789_abcdn);
});

Deno.test("the control registers keep their fields and report a new event stream", () => {
  const b = new Bench().at(0);
  b.write("CNTKCTL_EL1", ALL);
  b.write("CNTHCTL_EL2", ALL);
  assert.deepEqual([b.read("CNTKCTL_EL1"), b.read("CNTHCTL_EL2"), b.rearmed], [0x3ffn, 0xfffn, 2]);
});
