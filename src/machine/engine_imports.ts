// The TypeScript behind the names that generated code calls: each finds the vCPU by its base address and goes to the part
// that answers.

import type { Vcpu } from "../cpu/core.ts";
import * as exceptions from "../cpu/exceptions.ts";
import { LEAVE, REFETCH, type Status } from "../cpu/status.ts";
import * as sysregs from "../cpu/sysreg_access.ts";
import { softFloatHelper } from "../isa/softfloat/operations.ts";
import type { Imports } from "../jit/linker.ts";
import { HOST_MAP, VCPU_BLOCK } from "../memory/host_map.ts";
import { Tracer } from "../base/trace.ts";
import type { Machine } from "./machine.ts";
import { tracePredecode, traceUndefined } from "./tracing.ts";

const UNIMP = Tracer.bit("unimp");

/** Everything that generated code of `machine` imports. */
export function engineImports(machine: Machine): Imports {
  const index = (base: number) => (base - HOST_MAP.vcpus.base) / VCPU_BLOCK.size;
  const vcpuAt = (base: number): Vcpu => machine.vcpus[index(base)]!;
  const mmuAt = (base: number) => machine.mmus[index(base)]!;
  const of = <A extends number[]>(f: (vcpu: Vcpu, ...args: A) => Status) => (base: number, ...args: A): Status => {
    const status = f(vcpuAt(base), ...args);
    return status === REFETCH && machine.scheduler.leaving ? LEAVE : status;
  };
  const floats: ReturnType<typeof softFloatHelper>[] = [];
  return {
    svc: of(exceptions.svc),
    hvc: of(exceptions.hvc),
    smc: of(exceptions.smc),
    brk: of(exceptions.brk),
    hlt: of(exceptions.hlt),
    undefined: of((vcpu) => {
      if ((machine.around.trace.mask & UNIMP) !== 0) traceUndefined(machine, vcpu);
      return exceptions.undefined_(vcpu);
    }),
    eret: of(exceptions.eret),
    fpTrapped: of(exceptions.fpTrapped),
    spAlignment: of(exceptions.spAlignment),
    readSysreg: of(sysregs.readSysreg),
    writeSysreg: of(sysregs.writeSysreg),
    sysInstruction: of(sysregs.sysInstruction),
    msrImmediate: of(sysregs.msrImmediate),
    wfi: of(sysregs.wfi),
    wfe: of(sysregs.wfe),
    sev: of(sysregs.sev),
    sevl: of(sysregs.sevl),
    esb: of(sysregs.esb),
    softFloat: (base: number, operation: number, a: bigint, b: bigint, c: bigint) => {
      const n = index(base), run = floats[n] ??= softFloatHelper(machine.vcpus[n]!.state);
      return run(operation, BigInt.asUintN(64, a), BigInt.asUintN(64, b), BigInt.asUintN(64, c));
    },
    dataRead: (base, lo, hi, desc) => mmuAt(base).dataRead(lo, hi, desc),
    dataWrite: (base, lo, hi, desc) => mmuAt(base).dataWrite(lo, hi, desc),
    fetch: (base) => mmuAt(base).fetch(),
    predecode: machine.around.trace.on("in_asm")
      ? (base, record) => void (vcpuAt(base).counters.predecoded += tracePredecode(machine, vcpuAt(base), record))
      : (base, record) => void (vcpuAt(base).counters.predecoded += machine.code.predecode(record)),
  };
}
