// Programs that make no sense: random instructions of every definition, random system registers, translation tables and
// device addresses, at every exception level. A guest may do all of that; the machine must go on.

import { ENCODINGS } from "../../src/arch/sysregs.ts";
import { SYSTEM_INSTRUCTIONS } from "../../src/arch/sysinsns.ts";
import { HALT } from "../../src/cpu/vcpu.ts";
import { A64 } from "../../src/isa/a64/a64.ts";
import { MEMORY_MAP } from "../../src/machine/memory_map.ts";
import { randomWord } from "../isa/generate.ts";
import { Random } from "../isa/random.ts";
import { RAM_BASE, type TestMachine } from "./machine.ts";

const CODE_WORDS = 4096, RAM_BYTES = 16 * 2 ** 20;

/** MRS, MSR or SYS of a register or instruction that exists. */
function systemWord(random: Random): number {
  const key = random.pick([...(random.once(4) ? SYSTEM_INSTRUCTIONS : ENCODINGS).keys()]);
  return (0xd500_0000 | (random.below(2) << 21) | (key << 5) | random.below(32)) >>> 0;
}

/** A value that may be an address: of RAM, of code, of a device, of nothing. */
function address(random: Random): bigint {
  const { gicDistributor, gicRedistributors, uart, rtc, fwCfg, gpio, virtio, flash0 } = MEMORY_MAP;
  const device = random.pick([gicDistributor, gicRedistributors, uart, rtc, fwCfg, gpio, virtio, flash0]);
  switch (random.below(8)) {
    case 0:
      return random.integer(64);
    case 1:
      return BigInt(RAM_BASE + random.below(RAM_BYTES));
    case 2:
    case 3:
      return BigInt(device.base + random.below(Math.min(device.size, 0x1000)));
    case 4:
      return BigInt(device.base + (random.below(Math.min(device.size, 0x10000)) & ~7));
    default:
      return BigInt(RAM_BASE + 4 * random.below(CODE_WORDS));
  }
}

/** What a register may be set to: close to what it was, an address, anything. */
function mutate(random: Random, value: bigint): bigint {
  switch (random.below(4)) {
    case 0:
      return BigInt.asUintN(64, value ^ (1n << BigInt(random.below(64))));
    case 1:
      return address(random);
    case 2:
      return random.integer(64);
    default:
      return value;
  }
}

/** Fills the start of RAM with random code and tables, the registers of every CPU with random values. */
export function confuse({ machine }: TestMachine, random: Random): void {
  const words = new Uint32Array(CODE_WORDS);
  for (let n = 0; n < CODE_WORDS; n++) {
    words[n] = random.once(4)
      ? systemWord(random)
      // Some are descriptors, when RAM is taken for a table.
      : random.once(50)
      ? random.u32()
      : (randomWord(random, random.pick(A64)) ?? 0);
  }
  machine.bus.writeBytes(RAM_BASE, new Uint8Array(words.buffer), true);
  for (const { index, state, sys } of machine.vcpus) {
    for (const name of ["VBAR_EL1", "VBAR_EL2"] as const) sys[name] = BigInt(RAM_BASE + (random.below(8) << 11));
    for (const name of ["SCTLR_EL1", "SCTLR_EL2", "HCR_EL2", "TCR_EL1", "TCR_EL2", "VTCR_EL2"] as const) {
      if (random.once(3)) sys[name] = mutate(random, sys[name]);
    }
    for (const name of ["TTBR0_EL1", "TTBR1_EL1", "TTBR0_EL2", "VTTBR_EL2", "ELR_EL2", "ELR_EL1"] as const) {
      sys[name] = address(random);
    }
    sys.SPSR_EL2 = BigInt(random.pick([0, 4, 5, 8, 9]) | (random.below(16) << 6));
    sys.SPSR_EL1 = BigInt(random.pick([0, 4, 5]) | (random.below(16) << 6));
    for (let n = 0; n < 31; n++) state.x[n] = address(random);
    state.pc = BigInt(RAM_BASE + 4 * random.below(CODE_WORDS));
    machine.mmus[index]!.registersChanged();
  }
}

/** Between slices: continues elsewhere with other values, so that a tight loop of exceptions or a halt is not the end. */
export function jolt({ machine }: TestMachine, random: Random): void {
  for (const { state } of machine.vcpus) {
    state.halt = HALT.RUNNING;
    state.pc = BigInt(RAM_BASE + 4 * random.below(CODE_WORDS));
    for (let n = 0; n < 31; n++) if (random.once(2)) state.x[n] = address(random);
  }
}
