// A vCPU of its own memory, with an environment that records what it is asked.

import { cpuModel, type CpuName } from "../../src/arch/models.ts";
import { findSysreg } from "../../src/arch/sysregs.ts";
import { silentTracer } from "../../src/base/trace.ts";
import { Vcpu } from "../../src/cpu/core.ts";
import type { Environment } from "../../src/cpu/environment.ts";
import { writePstate } from "../../src/cpu/pstate.ts";
import { CONTINUE } from "../../src/cpu/status.ts";
import { readSysreg, writeSysreg } from "../../src/cpu/sysreg_access.ts";

export interface Fixture {
  readonly vcpu: Vcpu;
  /** What the environment was asked, in order: "read NAME", "tlbi VAE1" ... */
  readonly log: string[];
}

/** A vCPU that was reset; `el2: false` leaves EL2 out. */
export function fixture(name: CpuName = "cortex-a76", options: { el2?: boolean; gicv3?: boolean } = {}): Fixture {
  const log: string[] = [];
  const el2 = options.el2 ?? true;
  const environment: Environment = {
    trace: silentTracer(),
    readHook: (register) => (log.push(`read ${register}`), 0x1234n),
    writeHook: (register, _, value) => void log.push(`write ${register} ${value}`),
    translationChanged: () => {},
    levelChanged: () => {},
    at: (_, op) => (log.push(`at ${op}`), CONTINUE),
    tlbi: (_, op) => void log.push(`tlbi ${op}`),
    cacheOp: (_, op) => (log.push(`cache ${op}`), CONTINUE),
    psci: () => (log.push("psci"), CONTINUE),
    psciConduit: el2 ? "smc" : "hvc",
    sendEvent: () => void log.push("sev"),
    kick: () => void log.push("kick"),
  };
  const model = cpuModel(name, { el2, gicv3: options.gicv3 ?? true });
  const vcpu = new Vcpu(new SharedArrayBuffer(0x8000), 0, 0, model, environment);
  vcpu.reset();
  vcpu.state.pc = 0x4000_1000n;
  vcpu.sys.VBAR_EL1 = 0x1_0000n;
  vcpu.sys.VBAR_EL2 = 0x2_0000n;
  return { vcpu, log };
}

/** Moves to an exception level with SP_ELx, nothing masked. */
export function enterLevel(vcpu: Vcpu, el: 0 | 1 | 2): void {
  vcpu.state.pc = 0x4000_1000n;
  writePstate(vcpu, el === 0 ? 0 : el << 2 | 1);
}

/** What an access came to. */
export type Outcome = "ok" | `undefined EL${number}` | `trap EL${number}` | `fp EL${number}` | `class ${number}`;

/** Makes an access with X0 at an exception level and tells what came of it. */
export function access(vcpu: Vcpu, el: 0 | 1 | 2, direction: "r" | "w", register: string): Outcome {
  const key = findSysreg(register)?.key;
  if (key === undefined) throw new RangeError(`Cannot access ${register}: no such register`);
  return accessKey(vcpu, el, direction, key);
}

export function accessKey(vcpu: Vcpu, el: 0 | 1 | 2, direction: "r" | "w", key: number, rt = 0): Outcome {
  enterLevel(vcpu, el);
  const status = direction === "r" ? readSysreg(vcpu, key, rt) : writeSysreg(vcpu, key, rt);
  return status === CONTINUE ? "ok" : exception(vcpu);
}

/** The exception that was just taken, in words. */
export function exception(vcpu: Vcpu): Outcome {
  const at = vcpu.state.el, esr = at === 2 ? vcpu.sys.ESR_EL2 : vcpu.sys.ESR_EL1, ec = Number(esr >> 26n);
  if (ec === 0) return `undefined EL${at}`;
  if (ec === 0x18) return `trap EL${at}`;
  if (ec === 7) return `fp EL${at}`;
  return `class ${ec}`;
}
