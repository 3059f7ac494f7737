// Registers as a debugger sees them: gdb's own, then every system register that the context has, from the tables in
// src/arch. General registers are read from shared memory; system registers, which other parts of the machine may have to
// compute, where the machine runs. Reading never has an effect on the machine.

import { EC } from "../../arch/esr.ts";
import type { CpuModel } from "../../arch/models.ts";
import { type Sysreg, sysregKey } from "../../arch/sysreg.ts";
import { REGISTERS, SYSREG_NAMES, type SysregName } from "../../arch/sysregs.ts";
import { CONTROL } from "../../arch/sysregs/control.ts";
import { DEBUG } from "../../arch/sysregs/debug.ts";
import { GIC_REGISTERS } from "../../arch/sysregs/gic.ts";
import { IDENTIFICATION } from "../../arch/sysregs/identification.ts";
import { TIMER } from "../../arch/sysregs/timer.ts";
import { TRANSLATION } from "../../arch/sysregs/translation.ts";
import type { Vcpu } from "../../cpu/core.ts";
import { CPU_REGISTERS, fpcrMask } from "../../cpu/cpu_registers.ts";
import { HCR, packFlags, packSpsr, readSp, recomputeControls, writePstate, writeSp } from "../../cpu/pstate.ts";
import { HALT } from "../../cpu/vcpu.ts";
import { AARCH64_REGISTERS, GENERAL_BYTES } from "../../../gdbstub/aarch64_registers.ts";
import {
  ERRNO,
  type Outcome,
  Refusal,
  type RegisterDescription,
  type RegisterField,
  type RegisterType,
} from "../../../gdbstub/target.ts";
import type { Bank, DebugArea } from "./area.ts";

const FIRST_SYSTEM = AARCH64_REGISTERS.length;
const X = 0, SP = 31, PC = 32, CPSR = 33, V = 34, FPSR = 66, FPCR = 67;

// --- Descriptions -------------------------------------------------------------------------------------------------------

const GROUPS: readonly (readonly [string, object])[] = [
  ["control", CONTROL],
  ["translation", TRANSLATION],
  ["timer", TIMER],
  ["gic", GIC_REGISTERS],
  ["debug", DEBUG],
  ["id", IDENTIFICATION],
];
/** The group of a register in `info registers GROUP`. */
export const groupOf = (name: SysregName): string => GROUPS.find(([, rows]) => name in rows)?.[0] ?? "implementation";

/** Groups that are not saved, since they never change. */
const CONSTANT: ReadonlySet<string> = new Set(["id", "implementation"]);

/** Names for values of fields, by register and field. */
const VALUES: readonly { readonly of: RegExp; readonly values: Readonly<Record<string, number>> }[] = [
  { of: /^ESR_EL[12]\.EC$/, values: EC },
  { of: /^TCR_EL[12]\.TG0$/, values: { KB4: 0, KB64: 1, KB16: 2 } },
  { of: /^VTCR_EL2\.TG0$/, values: { KB4: 0, KB64: 1, KB16: 2 } },
  { of: /^TCR_EL[12]\.TG1$/, values: { KB16: 1, KB4: 2, KB64: 3 } },
  { of: /\.FPEN$/, values: { TRAP: 0, TRAP_EL0: 1, TRAP_ALL: 2, NONE: 3 } },
  { of: /^ICH_LR\d+_EL2\.State$/, values: { INVALID: 0, PENDING: 1, ACTIVE: 2, PENDING_ACTIVE: 3 } },
];
const CODE = /^(ELR|VBAR|RVBAR)_/, DATA = /^(FAR|SP|TPIDR|TPIDRRO)_/;

function typeOf(name: string, { layout }: Sysreg): RegisterType {
  if (CODE.test(name)) return { kind: "code_ptr" };
  if (DATA.test(name)) return { kind: "data_ptr" };
  if (layout.fields.length === 0 || layout.fields[0]!.width === 64) return { kind: "int" };
  const fields = layout.fields.map(({ name: field, lsb, width }): RegisterField => {
    const named = VALUES.find(({ of }) => of.test(`${name}.${field}`));
    return named === undefined ? { name: field, lsb, width } : { name: field, lsb, width, values: named.values };
  });
  return { kind: "fields", fields };
}

/** Whether a context has the register: what it can read at its exception levels, and the model has. */
function belongs(row: Sysreg, model: CpuModel, hypervisor: boolean): boolean {
  if (row.at === undefined || row.read === undefined) return false;
  if (row.feature !== undefined && !model.has(row.feature)) return false;
  return row.read < 2 || (hypervisor && model.has("el2"));
}

/** All registers of the hypervisor's context, or of a virtual machine's. Numbers are the same in both. */
export function describeRegisters(model: CpuModel, hypervisor: boolean): readonly RegisterDescription[] {
  const system = SYSREG_NAMES.flatMap((name, n): RegisterDescription[] => {
    const row = REGISTERS[name];
    if (!belongs(row, model, hypervisor)) return [];
    return [{
      number: FIRST_SYSTEM + n,
      name,
      bits: 64,
      feature: `vitrine.${groupOf(name)}`,
      group: groupOf(name),
      type: typeOf(name, row),
      writable: row.write !== undefined,
      general: false,
    }];
  });
  return [...AARCH64_REGISTERS, ...system];
}

/** The system register with gdb's number. */
export const systemRegister = (number: number): SysregName | undefined => SYSREG_NAMES[number - FIRST_SYSTEM];
/** gdb's number of a system register. */
export const registerNumber = (name: SysregName): number => FIRST_SYSTEM + SYSREG_NAMES.indexOf(name);

// --- General registers --------------------------------------------------------------------------------------------------

/** Writes all general registers to `out`, as `g` has them. */
export function readGeneralInto({ state }: Bank, out: Uint8Array): void {
  const view = new DataView(out.buffer, out.byteOffset, GENERAL_BYTES), { x, v } = state;
  for (let n = 0; n < 31; n++) view.setBigUint64(n * 8, x[n]!, true);
  view.setBigUint64(SP * 8, x[32]!, true);
  view.setBigUint64(PC * 8, state.pc, true);
  view.setUint32(CPSR * 8, packSpsr(state), true);
  out.set(new Uint8Array(v.buffer, v.byteOffset, 512), CPSR * 8 + 4);
  view.setUint32(GENERAL_BYTES - 8, state.fpsr, true);
  view.setUint32(GENERAL_BYTES - 4, state.fpcr, true);
}

/** Where a general register lies in `g`. */
export function generalRange(number: number): { readonly at: number; readonly bytes: number } | undefined {
  if (number < 0 || number >= FIRST_SYSTEM) return undefined;
  if (number < CPSR) return { at: number * 8, bytes: 8 };
  if (number === CPSR) return { at: CPSR * 8, bytes: 4 };
  if (number < FPSR) return { at: CPSR * 8 + 4 + (number - V) * 16, bytes: 16 };
  return { at: GENERAL_BYTES - (FPCR + 1 - number) * 4, bytes: 4 };
}

/** A general register as a number (not for SIMD registers). */
export function generalValue({ state }: Bank, number: number): bigint | undefined {
  if (number >= X && number < SP) return state.x[number]!;
  switch (number) {
    case SP:
      return state.x[32]!;
    case PC:
      return state.pc;
    case CPSR:
      return BigInt(packSpsr(state));
    case FPSR:
      return BigInt(state.fpsr);
    case FPCR:
      return BigInt(state.fpcr);
  }
  return undefined;
}

const littleEndian = (bytes: Uint8Array): bigint => bytes.reduceRight((value, byte) => value << 8n | BigInt(byte), 0n);

/** Writes a general register of a running world. */
function writeGeneralRegister(vcpu: Vcpu, number: number, bytes: Uint8Array): Outcome {
  const { state } = vcpu;
  if (number >= V && number < FPSR) {
    new Uint8Array(state.v.buffer, state.v.byteOffset + (number - V) * 16, 16).set(bytes);
    return;
  }
  const value = littleEndian(bytes);
  if (number < SP) state.x[number] = value;
  else if (number === SP) state.x[32] = value;
  else if (number === PC) {
    if (state.pc === value) return;
    state.pc = value;
    // Who moves the pc of a vCPU that waits means it to run.
    if (state.halt === HALT.WFI || state.halt === HALT.WFE) state.halt = HALT.RUNNING;
  } else if (number === CPSR) {
    const psr = Number(value & 0xffff_ffffn);
    const world = (el: number) => vcpu.hasEl2 && el < 2 && (vcpu.sys.HCR_EL2Lo & 1) !== 0;
    if (world((psr >>> 2) & 3) !== world(state.el)) {
      return new Refusal("cpsr: this exception level is in another context", ERRNO.EINVAL);
    }
    writePstate(vcpu, psr);
  } else if (number === FPSR) state.fpsr = Number(value) & 0x0800_009f;
  else state.fpcr = Number(value & 0xffff_ffffn) & fpcrMask(vcpu);
  return;
}

// --- System registers ---------------------------------------------------------------------------------------------------

const ACKNOWLEDGE: Readonly<Partial<Record<SysregName, SysregName>>> = {
  ICC_IAR0_EL1: "ICC_HPPIR0_EL1",
  ICC_IAR1_EL1: "ICC_HPPIR1_EL1",
};
const SP_LEVEL: Readonly<Partial<Record<SysregName, 0 | 1 | 2>>> = { SP_EL0: 0, SP_EL1: 1, SP_EL2: 2 };

/** System registers of worlds, and writing: for the machine's thread. */
export class RegisterAccess {
  constructor(readonly area: DebugArea, readonly vcpus: readonly Vcpu[]) {}

  /** The vCPU whose registers are a world's own now; undefined when they lie where the hypervisor put them. */
  #runningOn(world: number): Vcpu | undefined {
    const { cpu } = this.area.world(world);
    return cpu < 0 ? undefined : this.vcpus[cpu];
  }
  #name(world: number): string {
    const { context, thread } = this.area.world(world), { id, vmid } = this.area.contexts[context]!;
    return id === 1 ? `vcpu ${thread - 1} of the hypervisor` : `vm ${vmid} vcpu ${thread - 1}`;
  }

  readSystem(world: number, name: SysregName): bigint | Refusal {
    const hypervisor = world < this.vcpus.length, vcpu = hypervisor ? this.vcpus[world]! : this.#runningOn(world);
    if (vcpu === undefined) return this.#readSaved(world, name);
    // While a virtual machine runs, the EL1 registers are its own; what the host's EL1 had last is known.
    if (hypervisor && this.area.world(world).cpu < 0 && REGISTERS[name].read !== 2) return this.#readHost(world, name);
    return this.#readLive(vcpu, name, hypervisor);
  }

  #readLive(vcpu: Vcpu, name: SysregName, hypervisor: boolean): bigint {
    const row = REGISTERS[name], level = SP_LEVEL[name];
    if (level !== undefined) return readSp(vcpu, level);
    if (row.owner === undefined) return vcpu.sys[name];
    if (row.owner === "cpu") {
      if (hypervisor && (name === "MIDR_EL1" || name === "MPIDR_EL1")) return vcpu.sys[name];
      return BigInt(CPU_REGISTERS[name]?.read?.(vcpu) ?? 0);
    }
    const quiet = ACKNOWLEDGE[name] ?? name, { virtual } = REGISTERS[quiet];
    const seen = !hypervisor && virtual?.when.some((bit) => (vcpu.sys.HCR_EL2Lo & HCR[bit]) !== 0)
      ? virtual.name as SysregName
      : quiet;
    return vcpu.environment.readHook(seen, vcpu);
  }

  #readSaved(world: number, name: SysregName): bigint | Refusal {
    const bank = this.area.saved(world), { state, sys } = bank;
    switch (name) {
      case "MIDR_EL1":
        return sys.VPIDR_EL2;
      case "MPIDR_EL1":
        return sys.VMPIDR_EL2;
      case "CurrentEL":
        return BigInt(state.el << 2);
      case "SPSel":
        return BigInt(state.spsel);
      case "DAIF":
        return BigInt(state.daif << 6);
      case "NZCV":
        return BigInt(packFlags(state) >>> 0);
      case "PAN":
        return BigInt(state.pan << 22);
      case "UAO":
        return BigInt(state.uao << 23);
      case "FPCR":
        return BigInt(state.fpcr);
      case "FPSR":
        return BigInt(state.fpsr);
    }
    if (REGISTERS[name].owner === "gic") {
      return new Refusal(`${this.#name(world)} is descheduled: ${name} is where the hypervisor keeps it`, ERRNO.EACCES);
    }
    return CONSTANT.has(groupOf(name)) ? this.vcpus[0]!.sys[name] : sys[name];
  }

  /** A register of the hypervisor while its vCPU runs a virtual machine. */
  #readHost(world: number, name: SysregName): bigint | Refusal {
    const { owner } = REGISTERS[name], host = this.area.host[world]!.sys, vcpu = this.vcpus[world]!;
    if (owner === "gic" || owner === "timer") return this.#readLive(vcpu, name, true);
    const level = SP_LEVEL[name];
    if (level === 2) return this.area.saved(world).state.x[32]!;
    if (owner === "cpu" || host.SCTLR_EL1 === 0n) return this.#readLive(vcpu, name, true);
    return CONSTANT.has(groupOf(name)) ? vcpu.sys[name] : host[name];
  }

  /** Writes a register, general or system. */
  write(world: number, number: number, bytes: Uint8Array): Outcome {
    const vcpu = this.#runningOn(world);
    if (vcpu === undefined) {
      return new Refusal(
        `${this.#name(world)} is descheduled: where the hypervisor will load its registers from is not known`,
        ERRNO.EACCES,
      );
    }
    if (number < FIRST_SYSTEM) return writeGeneralRegister(vcpu, number, bytes);
    const name = systemRegister(number);
    if (name === undefined) return new Refusal(`register ${number} is not known`, ERRNO.EINVAL);
    return this.#writeSystem(vcpu, name, littleEndian(bytes), world < this.vcpus.length);
  }
  #writeSystem(vcpu: Vcpu, name: SysregName, value: bigint, hypervisor: boolean): Outcome {
    const { state, sysWords } = vcpu, row = REGISTERS[name], level = SP_LEVEL[name];
    const access = row.at === undefined ? undefined : vcpu.access.registers[sysregKey(row.at)];
    if (access === undefined || row.write === undefined) return new Refusal(`${name} is read-only`, ERRNO.EACCES);
    if (level !== undefined) {
      writeSp(vcpu, level, value);
      return;
    }
    const lo = Number(value & 0xffff_ffffn), hi = Number(value >> 32n), { target } = access;
    if (name === "DAIF") state.daif = (lo >>> 6) & 15;
    else if (target.owner === "cpu") CPU_REGISTERS[name]?.write?.(vcpu, lo, hi);
    if (target.owner === undefined || target.mirrored) {
      const { word, maskLo, maskHi } = target;
      sysWords[word] = (sysWords[word]! & ~maskLo) | (lo & maskLo);
      sysWords[word + 1] = (sysWords[word + 1]! & ~maskHi) | (hi & maskHi);
    }
    if (target.owner === "gic" || target.owner === "timer") {
      const virtual = !hypervisor && row.virtual?.when.some((bit) => (vcpu.sys.HCR_EL2Lo & HCR[bit]) !== 0);
      vcpu.environment.writeHook(virtual ? row.virtual!.name as SysregName : target.name, vcpu, value);
    }
    if (target.effect === "translation") vcpu.environment.translationChanged(vcpu);
    else if (target.effect !== undefined) recomputeControls(vcpu);
    return;
  }
}
