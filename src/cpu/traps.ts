// The traps of src/arch/traps.ts as checks. A check says where an access from the current level goes instead of the
// register; the access pseudocode runs them in the order the register's row lists them.

import { type Direction, type Trap, type TrapName, TRAPS } from "../arch/traps.ts";
import { CNTHCTL_EL2, CNTHCTL_EL2_NVHE, MDSCR_EL1, REGISTERS, SYSTEM_REGISTERS } from "../arch/sysregs.ts";
import { assert } from "../base/errors.ts";
import type { Vcpu } from "./core.ts";
import { FP_TRAP, HCR, isHost } from "./pstate.ts";

/** Where an access goes: to the register, or as an exception to EL1 or EL2. */
export const VERDICT = {
  ALLOWED: 0,
  TO_EL1: 1,
  TO_EL2: 2,
  UNDEFINED: 3,
  /** As `fpTrapped()` reports it. */
  FP: 4,
} as const;
export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];
export type Check = (vcpu: Vcpu) => Verdict;

const { ALLOWED, TO_EL1, TO_EL2, UNDEFINED, FP } = VERDICT;

const TDCC = 1 << MDSCR_EL1.at.TDCC.lsb;
const PHYSICAL = {
  EL1PCTEN: { nvhe: 1 << CNTHCTL_EL2_NVHE.at.EL1PCTEN.lsb, vhe: 1 << CNTHCTL_EL2.at.EL1PCTEN.lsb },
  EL1PTEN: { nvhe: 1 << CNTHCTL_EL2_NVHE.at.EL1PCEN.lsb, vhe: 1 << CNTHCTL_EL2.at.EL1PTEN.lsb },
} as const;

/** CNTHCTL_EL2's permissions for the physical counter and timer: EL1 and, unless it is the host's, EL0. */
function physicalTimer({ nvhe, vhe }: { nvhe: number; vhe: number }): Check {
  return (vcpu) => {
    const { state, sys } = vcpu;
    if (!vcpu.hasEl2 || state.el === 2) return ALLOWED;
    const e2h = (sys.HCR_EL2Hi & HCR.E2H_HI) !== 0, tge = (sys.HCR_EL2Lo & HCR.TGE) !== 0;
    if (state.el === 0 && e2h && tge) return ALLOWED;
    return (sys.CNTHCTL_EL2Lo & (e2h ? vhe : nvhe)) === 0 ? TO_EL2 : ALLOWED;
  };
}

const SPECIAL: Partial<Record<TrapName, Check>> = {
  EL1PCTEN: physicalTimer(PHYSICAL.EL1PCTEN),
  EL1PTEN: physicalTimer(PHYSICAL.EL1PTEN),
  FP: (vcpu) => vcpu.state.fpTrap === FP_TRAP.NONE ? ALLOWED : FP,
  SGI: (vcpu) => vcpu.state.el === 1 && (vcpu.sys.HCR_EL2Lo & (HCR.IMO | HCR.FMO)) !== 0 ? TO_EL2 : ALLOWED,
  HIGHEST: (vcpu) => vcpu.state.el < (vcpu.hasEl2 ? 2 : 1) ? UNDEFINED : ALLOWED,
  WITHOUT_EL2: (vcpu) => vcpu.hasEl2 ? UNDEFINED : ALLOWED,
  SPSEL: (vcpu) => vcpu.state.spsel === 0 ? UNDEFINED : ALLOWED,
  TDCC: (vcpu) => {
    if (vcpu.state.el !== 0 || (vcpu.sys.MDSCR_EL1Lo & TDCC) === 0) return ALLOWED;
    return (vcpu.sys.HCR_EL2Lo & HCR.TGE) !== 0 ? TO_EL2 : TO_EL1;
  },
};

/** Index of the word of a register that holds the bits, and the bits, all in one word. */
function wordAndMask(register: keyof typeof REGISTERS, fields: readonly string[]): readonly [number, number] {
  const at = REGISTERS[register].layout.at as Readonly<Record<string, { readonly lsb: number }>>;
  const bits = fields.map((name) => {
    const field = at[name];
    assert(field, `${register} has a field ${name}`);
    return field.lsb;
  });
  const high = bits[0]! >= 32 ? 1 : 0;
  return [SYSTEM_REGISTERS.offset[register] / 4 + high, bits.reduce((mask, lsb) => mask | 1 << (lsb & 31), 0)];
}

function compile(name: TrapName, trap: Trap): Check {
  switch (trap.kind) {
    case "guest": {
      const [word, mask] = wordAndMask(trap.register, trap.or ? [trap.field, trap.or] : [trap.field]);
      if (trap.withTge) {
        return (vcpu) => {
          const set = (vcpu.sysWords[word]! & mask) !== 0 || (vcpu.sys.HCR_EL2Lo & HCR.TGE) !== 0;
          return set && vcpu.state.el < 2 ? TO_EL2 : ALLOWED;
        };
      }
      return (vcpu) => {
        const { el } = vcpu.state;
        if (el === 2 || (vcpu.sysWords[word]! & mask) === 0 || (el === 0 && isHost(vcpu))) return ALLOWED;
        return TO_EL2;
      };
    }
    case "user": {
      const [word, mask] = wordAndMask(trap.register, trap.fields),
        [host, hostMask] = wordAndMask(trap.host, trap.fields);
      return (vcpu) => {
        if (vcpu.state.el !== 0) return ALLOWED;
        const allowed = isHost(vcpu) ? vcpu.sysWords[host]! & hostMask : vcpu.sysWords[word]! & mask;
        return allowed !== 0 ? ALLOWED : (vcpu.sys.HCR_EL2Lo & HCR.TGE) !== 0 ? TO_EL2 : TO_EL1;
      };
    }
    case "special": {
      const check = SPECIAL[name];
      assert(check, `trap ${name} is written as code`);
      return check;
    }
  }
}

/** The checks for accesses in one direction, in the order of `names`. */
export function checksFor(names: readonly TrapName[], direction: Direction): readonly Check[] {
  return names.map((name) => [name, TRAPS[name] as Trap] as const)
    .filter(([, trap]) => trap.on.includes(direction))
    .map(([name, trap]) => compile(name, trap));
}

/** The first verdict that is not ALLOWED. */
export function judge(vcpu: Vcpu, checks: readonly Check[]): Verdict {
  for (let i = 0; i < checks.length; i++) {
    const verdict = checks[i]!(vcpu);
    if (verdict !== ALLOWED) return verdict;
  }
  return ALLOWED;
}
