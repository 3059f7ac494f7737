// What two runs of the same machine must agree on, as hashes: the architectural state of each vCPU, the devices, RAM. What
// only makes the machine fast (TLBs, predecoded code, contexts) is left out, so that it may differ.

import { Hash } from "../base/hash.ts";
import type { Vcpu } from "../cpu/core.ts";
import type { Machine } from "./machine.ts";

/** The registers of X that a program has: X0 to X30, and the current stack pointer at 32. */
const GENERAL_WORDS = 31 * 2, SP_WORD = 32 * 2;

/** 32 bits for all of a vCPU's architectural state. */
export function vcpuHash({ state, sysWords, xWords }: Vcpu): number {
  const flags = (state.nfHi >>> 31) << 3 | (state.zf === 0n ? 4 : 0) | (state.cfLo & 1) << 1 | state.vfHi >>> 31;
  const { el, spsel, daif, pan, uao, il, ss, fpcr, fpsr, pending, event, halt, retired } = state;
  const monitor = state.exclusiveSize === 0
    ? []
    : [state.exclusiveSize, ...[state.exclusiveAddress, state.exclusiveValue, state.exclusiveValueHigh].map(Number)];
  return new Hash()
    .words(xWords.subarray(0, GENERAL_WORDS))
    .words(xWords.subarray(SP_WORD, SP_WORD + 2))
    .words(state.vWords)
    .words(sysWords)
    .numbers(
      state.pcLo,
      state.pcHi,
      flags,
      el,
      spsel,
      daif,
      pan,
      uao,
      il,
      ss,
      fpcr,
      fpsr,
      pending,
      event,
      halt,
      retired,
    )
    .numbers(...monitor)
    .low;
}

/** One number for each vCPU and one for the devices, interrupt controller and time. */
export function registerHashes(machine: Machine): number[] {
  return [...machine.vcpus.map(vcpuHash), new Hash().words(machine.deviceWords).low];
}

/** 16 hexadecimal digits for all of the machine's state. */
export function memoryHash(machine: Machine): string {
  const hash = new Hash().numbers(...registerHashes(machine));
  for (const { host, size } of machine.bus.ranges) {
    hash.words(new Uint32Array(machine.around.memory.buffer, host, size / 4));
  }
  return hash.hex;
}
