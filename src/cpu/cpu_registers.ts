// The system registers that the CPU itself computes: PSTATE, the floating-point control and status, and a few whose value
// depends on another register. Traps and access levels are checked before; see sysreg_access.ts.

import { SPSR } from "../arch/pstate.ts";
import { HCR_EL2, type SysregName } from "../arch/sysregs.ts";
import type { Vcpu } from "./core.ts";
import { afterDaif, afterDebugChange, interruptStatus } from "./exceptions.ts";
import { HCR, isHost, packFlags, setLevel, unpackFlags } from "./pstate.ts";
import { CONTINUE, type Status } from "./status.ts";

interface CpuRegister {
  /** Values of more than 32 bits are given as bigint. */
  readonly read?: (vcpu: Vcpu) => number | bigint;
  readonly write?: (vcpu: Vcpu, lo: number, hi: number) => Status | void;
}

const FPCR_MASK = 0x07c0_0000, FPCR_FZ16 = 1 << 19, FPSR_MASK = 0x0800_009f;
const DZP = 1 << 4, SCTLR_DZE = 1 << 14;
const PAN_LSB = SPSR.at.PAN.lsb, UAO_LSB = SPSR.at.UAO.lsb;

/** What FPCR keeps of a written value. */
export const fpcrMask = (vcpu: Vcpu): number => vcpu.model.has("FEAT_FP16") ? FPCR_MASK | FPCR_FZ16 : FPCR_MASK;

/** Whether DC ZVA is prohibited at the current level: DCZID_EL0.DZP. */
function zeroingProhibited(vcpu: Vcpu): boolean {
  const { state, sys } = vcpu;
  if (state.el === 0) {
    const host = isHost(vcpu);
    if (((host ? sys.SCTLR_EL2Lo : sys.SCTLR_EL1Lo) & SCTLR_DZE) === 0) return true;
    if (host) return false;
  }
  return state.el < 2 && (sys.HCR_EL2Lo & HCR.TDZ) !== 0;
}

/** CCSIDR_EL1 for the cache that CSSELR_EL1 selects; UNKNOWN, here zero, when there is none. */
function cacheSize(vcpu: Vcpu): bigint {
  const select = vcpu.sys.CSSELR_EL1Lo & 15, level = select >> 1, instruction = (select & 1) !== 0;
  const type = (vcpu.sys.CLIDR_EL1Lo >>> (3 * level)) & 7;
  if (level > 6 || type === 0 || (instruction && type === 4)) return 0n;
  return vcpu.model.caches[level === 0 ? select : level + 1] ?? 0n;
}

const AMO_BITS = Number(HCR_EL2.at.AMO.mask);

export const CPU_REGISTERS: Readonly<Partial<Record<SysregName, CpuRegister>>> = {
  MIDR_EL1: { read: ({ state, sys }) => state.el === 1 ? sys.VPIDR_EL2 : sys.MIDR_EL1 },
  MPIDR_EL1: { read: ({ state, sys }) => state.el === 1 ? sys.VMPIDR_EL2 : sys.MPIDR_EL1 },
  CCSIDR_EL1: { read: cacheSize },
  DCZID_EL0: { read: (vcpu) => (vcpu.sys.DCZID_EL0Lo & 15) | (zeroingProhibited(vcpu) ? DZP : 0) },

  CurrentEL: { read: ({ state }) => state.el << 2 },
  SPSel: {
    read: ({ state }) => state.spsel,
    write: (vcpu, lo) => setLevel(vcpu, vcpu.state.el, lo & 1),
  },
  DAIF: {
    read: ({ state }) => state.daif << 6,
    write: (vcpu, lo) => {
      vcpu.state.daif = (lo >>> 6) & 15;
      return afterDaif(vcpu);
    },
  },
  NZCV: {
    read: ({ state }) => packFlags(state) >>> 0,
    write: ({ state }, lo) => unpackFlags(state, lo),
  },
  PAN: {
    read: ({ state }) => state.pan << PAN_LSB,
    write: (vcpu, lo) => {
      vcpu.state.pan = (lo >>> PAN_LSB) & 1;
      vcpu.environment.levelChanged(vcpu);
    },
  },
  UAO: {
    read: ({ state }) => state.uao << UAO_LSB,
    write: (vcpu, lo) => {
      vcpu.state.uao = (lo >>> UAO_LSB) & 1;
      vcpu.environment.levelChanged(vcpu);
    },
  },
  FPCR: {
    read: ({ state }) => state.fpcr,
    write: (vcpu, lo) => {
      vcpu.state.fpcr = lo & fpcrMask(vcpu);
    },
  },
  FPSR: {
    read: ({ state }) => state.fpsr,
    write: ({ state }, lo) => {
      state.fpsr = lo & FPSR_MASK;
    },
  },

  ISR_EL1: { read: interruptStatus },
  /** From EL1 with HCR_EL2.AMO this is VDISR_EL2. */
  DISR_EL1: {
    read: ({ state, sys }) => state.el === 1 && (sys.HCR_EL2Lo & AMO_BITS) !== 0 ? sys.VDISR_EL2Lo : sys.DISR_EL1Lo,
    write: ({ state, sys }, lo) => {
      const value = lo & 0x81ff_ffff;
      if (state.el === 1 && (sys.HCR_EL2Lo & AMO_BITS) !== 0) sys.VDISR_EL2Lo = value;
      else sys.DISR_EL1Lo = value;
    },
  },

  OSLAR_EL1: {
    write: (vcpu, lo) => {
      vcpu.sys.OSLSR_EL1Lo = (vcpu.sys.OSLSR_EL1Lo & ~2) | (lo & 1) << 1;
      return afterDebugChange(vcpu);
    },
  },
  // The claim tags: bits are set through one register, cleared through the other; SET reads as all ones.
  DBGCLAIMSET_EL1: {
    read: () => 0xff,
    write: ({ sys }, lo) => {
      sys.DBGCLAIMCLR_EL1Lo |= lo & 0xff;
    },
  },
  DBGCLAIMCLR_EL1: {
    read: ({ sys }) => sys.DBGCLAIMCLR_EL1Lo & 0xff,
    write: ({ sys }, lo) => {
      sys.DBGCLAIMCLR_EL1Lo &= ~lo & 0xff;
    },
  },
  L2CTLR_EL1: { read: ({ model }) => (Math.min(model.cores, 4) - 1) << 24, write: () => CONTINUE },
};
