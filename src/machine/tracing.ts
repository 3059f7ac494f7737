// The machine's own trace points, and where a vCPU is when something is traced.

import { hex, type TracePlace, tracePoint, Tracer } from "../base/trace.ts";
import { TraceFilter } from "../base/trace_filter.ts";
import type { Vcpu } from "../cpu/core.ts";
import { HCR, packSpsr } from "../cpu/pstate.ts";
import { UNALLOCATED } from "../isa/decoder.ts";
import { matches } from "../isa/define.ts";
import { readableText } from "../isa/text.ts";
import type { TraceConfig } from "./config.ts";
import type { Machine } from "./machine.ts";
import { psciName } from "./psci.ts";

export const GUEST_ERROR = tracePoint("guest_errors", "device", ({ message }: { message: string }) => message);

export const UNMAPPED = tracePoint(
  "guest_errors",
  "unmapped",
  ({ pa, bytes, write }: { pa: bigint; bytes: number; write: boolean }) =>
    `${write ? "write" : "read"} of ${bytes} bytes at ${hex(pa)}: nothing there`,
);

interface DeviceAccess {
  readonly device: string;
  readonly write: boolean;
  readonly offset: number;
  readonly bytes: number;
  readonly value: number;
}
export const DEVICE_ACCESS = tracePoint(
  "device",
  "access",
  ({ device, write, offset, bytes, value }: Readonly<DeviceAccess>) =>
    `${device} ${write ? "write" : "read"} of ${bytes} bytes at ${hex(offset)}: ${hex(value)}`,
);

interface PsciEvent {
  readonly call: string;
  readonly arguments: string;
  /** Absent when the caller does not continue. */
  readonly result: number | undefined;
}
const PSCI_CALL = tracePoint(
  "psci",
  "call",
  (e: Readonly<PsciEvent>) => `${e.call}(${e.arguments}) -> ${e.result ?? "does not return"}`,
);
const PSCI_UNKNOWN = tracePoint(
  "unimp",
  "psci",
  ({ id }: { id: number }) => `firmware call ${hex(id)} is not implemented`,
);

/** Tells of a firmware call with function `id`; its arguments are still in X1 to X3. */
export function tracePsci(vcpu: Vcpu, id: number, result: number | undefined): void {
  const { state: { x }, environment: { trace } } = vcpu, name = psciName(id);
  trace.emit(PSCI_CALL, { call: name, arguments: [x[1]!, x[2]!, x[3]!].map(hex).join(", "), result });
  if (name.startsWith("0x")) trace.emit(PSCI_UNKNOWN, { id });
}

const UNALLOCATED_WORD = tracePoint(
  "unimp",
  "instruction",
  ({ word, name }: { word: number; name: string | undefined }) =>
    `instruction ${hex(word)} ${name === undefined ? "is not allocated" : `(${name}) is not in this CPU`}`,
);

/** Tells of the instruction word at state.pc if no definition claims it, on this CPU at least. */
export function traceUndefined(machine: Machine, vcpu: Vcpu): void {
  const { decoder } = machine.code, word = machine.mmus[vcpu.index]!.instruction();
  if (decoder.decode(word) !== UNALLOCATED) return;
  const name = decoder.definitions.find((definition) => matches(definition, word))?.name;
  vcpu.environment.trace.emit(UNALLOCATED_WORD, { word, name });
}

/** The tracer that a configuration asks for. */
export function tracerOf({ groups, format, filter }: TraceConfig, sink: (line: string) => void): Tracer {
  return new Tracer(groups, sink, { format, filter: filter === null ? undefined : new TraceFilter(filter) });
}

const PREDECODED = tracePoint(
  "in_asm",
  "predecoded",
  ({ word, text }: { cpu: number; pc: bigint; word: number; text: string }) =>
    `${word.toString(16).padStart(8, "0")}  ${text}`,
);

/** Fills the record at `record`, the one of state.pc, and tells of every instruction that this predecodes. */
export function tracePredecode(machine: Machine, vcpu: Vcpu, record: number): number {
  const { code, around: { trace } } = machine, first = vcpu.state.pc, { index: cpu } = vcpu;
  return code.predecode(record, (distance, word) => {
    const pc = first + BigInt(distance * 4), text = readableText(code.decoder.decode(word), word, pc);
    trace.emit(PREDECODED, { cpu, pc, word, text });
  });
}

const ENTERED = tracePoint("exec", "block", ({ text }: { cpu: number; text: string }) => text);

const REGISTERS = tracePoint("cpu", "registers", (registers: Readonly<Record<string, bigint>>) => {
  const words = Object.entries(registers).map(([name, value]) =>
    `${name.padStart(6)}=${value.toString(16).padStart(16, "0")}`
  );
  const rows = Array.from({ length: Math.ceil(words.length / 4) }, (_, n) => words.slice(4 * n, 4 * n + 4).join(""));
  return `\n${rows.join("\n")}`;
});

/** Tells where a vCPU is about to go on, after a taken branch or anything else. */
export function traceBlock(machine: Machine, vcpu: Vcpu): void {
  const { trace } = machine.around, { state, index: cpu } = vcpu;
  if (trace.on("cpu")) {
    const general = Array.from({ length: 31 }, (_, n) => [`x${n}`, state.x[n]!] as const);
    const registers = { ...Object.fromEntries(general), sp: state.x[32]!, pstate: BigInt(packSpsr(state)) };
    trace.emit(REGISTERS, registers, trace.place(cpu));
  }
  if (!trace.on("exec")) return;
  const word = machine.mmus[cpu]!.instruction();
  trace.emit(ENTERED, { cpu, text: readableText(machine.code.decoder.decode(word), word, state.pc) });
}

const LOW_16 = 0xffff, TCR_A1 = 1 << 22, VTCR_VS = 1 << 19;

/** Where a vCPU is now. */
export function placeOf(vcpu: Vcpu): TracePlace {
  const { state, sys, index: cpu } = vcpu, host = (sys.HCR_EL2Hi & HCR.E2H_HI) !== 0;
  const own = state.el === 2 || (state.el === 0 && host && (sys.HCR_EL2Lo & HCR.TGE) !== 0);
  const second = ((own ? sys.TCR_EL2Lo : sys.TCR_EL1Lo) & TCR_A1) !== 0;
  const ttbr = own ? (second && host ? sys.TTBR1_EL2Hi : sys.TTBR0_EL2Hi) : second ? sys.TTBR1_EL1Hi : sys.TTBR0_EL1Hi;
  const vmid = sys.VTTBR_EL2Hi >>> 16, wide = (sys.VTCR_EL2Lo & VTCR_VS) !== 0;
  return {
    cpu,
    el: state.el,
    pc: state.pc,
    vmid: vcpu.hasEl2 && (sys.HCR_EL2Lo & 1) !== 0 ? vmid & (wide ? LOW_16 : 0xff) : undefined,
    asid: ttbr >>> 16,
    retired: vcpu.counters.accounted,
  };
}
