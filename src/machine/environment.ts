// What a vCPU asks of the rest of its machine: registers of the interrupt controller and the timers, translation, PSCI.

import { assert } from "../base/errors.ts";
import type { Environment } from "../cpu/environment.ts";
import { advance } from "../cpu/exceptions.ts";
import { CONTINUE, LEAVE, REFETCH } from "../cpu/status.ts";
import { HALT } from "../cpu/vcpu.ts";
import { Tracer } from "../base/trace.ts";
import { addressTranslate, maintainCache } from "../mmu/address_ops.ts";
import { tlbInvalidate } from "../mmu/tlbi.ts";
import type { FaultSink } from "../mmu/fault.ts";
import { dataAbort, instructionAbort, pcAlignment } from "../cpu/exceptions.ts";
import type { Vcpu } from "../cpu/core.ts";
import type { GicSysregs } from "../gic/controller.ts";
import { HCR, isHost } from "../cpu/pstate.ts";
import type { Machine } from "./machine.ts";
import { psciCall, type PsciHost } from "./psci.ts";
import { cpuAffinity } from "./board.ts";
import { tracePsci } from "./tracing.ts";

const TRACED = Tracer.bit("psci") | Tracer.bit("unimp");
const words = (
  value: bigint,
): [number, number] => [Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn)];

/** The environment of the vCPUs of `machine`, whose parts may be made after it. */
export function machineEnvironment(machine: Machine, psciConduit: "hvc" | "smc"): Environment {
  const { trace } = machine.around;
  const psciHost = psciHostOf(machine);
  return {
    trace,
    psciConduit,
    readHook(name, vcpu) {
      if (isGic(name)) return gicSysregs(machine).readSysreg(...gicRegister(name), vcpu.index, viewOf(name));
      // The host's view of the virtual counter has no offset.
      const host = vcpu.state.el === 2 ? hasE2h(vcpu) : vcpu.state.el === 0 && isHost(vcpu);
      return machine.timers.readSysreg(name === "CNTVCT_EL0" && host ? "CNTPCT_EL0" : name, vcpu.index);
    },
    writeHook(name, vcpu, value) {
      if (isGic(name)) {
        const [real] = gicRegister(name);
        gicSysregs(machine).writeSysreg(real, vcpu.index, value, viewOf(name));
        // Its trap bits are looked at by the CPU.
        if (name === "ICH_HCR_EL2") vcpu.sys.ICH_HCR_EL2Lo = gicSysregs(machine).hypControl(vcpu.index);
      } else machine.timers.writeSysreg(name, vcpu.index, value);
    },
    translationChanged: (vcpu) => machine.mmus[vcpu.index]?.registersChanged(),
    levelChanged: (vcpu) => machine.mmus[vcpu.index]?.contextSwitched(),
    debugChanged: (vcpu) => machine.guestDebug?.changed(vcpu) ?? false,
    at(vcpu, op, value) {
      const result = addressTranslate(machine.mmus[vcpu.index]!, op, ...words(value));
      if (result === undefined) return REFETCH;
      vcpu.sys.PAR_EL1 = result;
      return CONTINUE;
    },
    tlbi: (vcpu, op, value) => tlbInvalidate(machine.mmus[vcpu.index]!, machine.mmus, op, ...words(value)),
    cacheOp: (vcpu, op, lo, hi) => maintainCache(machine.mmus[vcpu.index]!, op, lo, hi) ? CONTINUE : REFETCH,
    psci(vcpu) {
      const { x } = vcpu.state, id = Number(x[0]! & 0xffff_ffffn);
      const result = psciCall(psciHost, vcpu.index, id, [x[1]!, x[2]!, x[3]!]);
      if ((trace.mask & TRACED) !== 0) tracePsci(vcpu, id, result);
      if (result !== undefined) x[0] = BigInt.asUintN(64, BigInt(result));
      if (machine.power === "on" && vcpu.state.halt === HALT.RUNNING) return CONTINUE;
      advance(vcpu);
      return LEAVE;
    },
    // The machine makes it after its vCPUs.
    semihosting: (vcpu) => machine.semihosting?.call(vcpu),
    sendEvent: () => machine.sendEvent(),
    kick: (vcpu) => machine.kick(vcpu),
    retiredAt: (vcpu, record) => machine.scheduler.retiredAt(vcpu, record),
  };
}

/** Faults of the MMU become exceptions of the vCPU. */
export function faultSink(vcpu: Vcpu): FaultSink {
  return {
    dataAbort: (fault) => void dataAbort(vcpu, fault),
    instructionAbort: (fault) => void instructionAbort(vcpu, fault),
    pcAlignmentFault: () => void pcAlignment(vcpu),
  };
}

const hasE2h = (vcpu: Vcpu) => (vcpu.sys.HCR_EL2Hi & HCR.E2H_HI) !== 0;
function gicSysregs({ gic }: Machine): GicSysregs {
  assert(gic.sysregs, "a CPU without GICv3 has no such registers");
  return gic.sysregs;
}
const isGic = (name: string) => /^IC[CHV]_/.test(name);
const viewOf = (name: string) => name.startsWith("ICV_") ? "virtual" as const : "physical" as const;
/** The interrupt controller knows an ICV_ register by its ICC_ name. */
const gicRegister = (name: string): [string] => [name.replace(/^ICV_/, "ICC_")];

function psciHostOf(machine: Machine): PsciHost {
  return {
    get cpus() {
      return machine.vcpus.map((vcpu) => ({
        index: vcpu.index,
        mpidr: cpuAffinity(vcpu.index),
        get isOn() {
          return vcpu.state.halt !== HALT.OFF;
        },
        turnOn(entry: bigint, contextId: bigint) {
          vcpu.reset();
          machine.mmus[vcpu.index]!.registersChanged();
          vcpu.state.pc = entry;
          vcpu.state.x[0] = contextId;
        },
        turnOff() {
          vcpu.state.halt = HALT.OFF;
        },
        suspend() {
          vcpu.state.halt = HALT.WFI;
        },
      }));
    },
    systemOff: () => void (machine.power = "off"),
    systemReset: () => void (machine.power = "reset"),
  };
}
