// Catchpoints: stops at exceptions, exception returns and world switches, in any context.

import { EC } from "../../arch/esr.ts";
import { syndromeWords } from "../../arch/esr_text.ts";
import { hex } from "../../base/trace.ts";
import type { Vcpu } from "../../cpu/core.ts";
import { CATCH_KINDS, type CatchKind, type Catchpoint, ERRNO, type Outcome, Refusal } from "../../../gdbstub/target.ts";
import { type DebugArea, EXIT_KIND } from "./area.ts";

/** Classes by the name that `catch` takes: exception classes, or the kinds of interrupts. */
const CLASSES: Readonly<Record<string, readonly number[]>> = {
  hvc: [EC.HVC],
  smc: [EC.SMC],
  svc: [EC.SVC],
  wfx: [EC.WFX],
  sysreg: [EC.SYSREG],
  fp: [EC.FP_ACCESS],
  dabt: [EC.DATA_ABORT, EC.DATA_ABORT_LOWER],
  iabt: [EC.INSTRUCTION_ABORT, EC.INSTRUCTION_ABORT_LOWER],
  align: [EC.PC_ALIGNMENT, EC.SP_ALIGNMENT],
  illegal: [EC.ILLEGAL_STATE],
  undef: [EC.UNKNOWN],
  brk: [EC.BRK],
};
const INTERRUPTS = ["irq", "fiq", "serror"] as const;
const EXCEPTION_CLASSES = [...Object.keys(CLASSES), ...INTERRUPTS];
/** Exits have no SVC of their own. */
const EXIT_CLASSES = EXCEPTION_CLASSES.filter((name) => name !== "svc");

export const CATCH_CLASSES: Readonly<Record<CatchKind, readonly string[]>> = {
  exit: EXIT_CLASSES,
  enter: [],
  exception: EXCEPTION_CLASSES,
  eret: [],
};

/** Kind and class of the exception that a vCPU has just taken. */
export function exceptionOf({ state, sys }: Vcpu): { readonly kind: number; readonly syndrome: number } {
  return { kind: (state.pcLo & 0x180) >>> 7, syndrome: state.el === 2 ? sys.ESR_EL2Lo : sys.ESR_EL1Lo };
}

/** An exception in words: `HVC #4`, `IRQ`. */
export const exceptionWords = (kind: number, syndrome: number): string =>
  kind === EXIT_KIND.SYNC ? syndromeWords(syndrome) : ["", "IRQ", "FIQ", "SError"][kind]!;

export class Catchpoints {
  readonly #points = new Map<number, Catchpoint>();

  constructor(readonly area: DebugArea) {}

  get size(): number {
    return this.#points.size;
  }
  insert(point: Catchpoint): Outcome {
    if (!CATCH_KINDS.includes(point.kind)) return new Refusal(`catch ${point.kind} is not known`, ERRNO.EINVAL);
    if (point.class !== null && !CATCH_CLASSES[point.kind].includes(point.class)) {
      return new Refusal(`${point.kind} has no class ${point.class}`, ERRNO.EINVAL);
    }
    this.#points.set(point.id, point);
    return;
  }
  remove(id: number): void {
    this.#points.delete(id);
  }
  clear(): void {
    this.#points.clear();
  }

  /** What to say about the exception that was just taken, if it is caught. */
  taken(vcpu: Vcpu, from: number, left: number): string | undefined {
    if (this.#points.size === 0) return undefined;
    const { kind, syndrome } = exceptionOf(vcpu), { el } = vcpu.state;
    const caught = [...this.#points.values()].some((point) =>
      (point.kind === "exit" ? left >= 0 : point.kind === "exception") && (point.el === null || point.el === el) &&
      (point.class === null || isOf(point.class, kind, syndrome))
    );
    if (!caught) return undefined;
    const pc = hex(el === 2 ? vcpu.sys.ELR_EL2 : vcpu.sys.ELR_EL1), words = exceptionWords(kind, syndrome);
    if (left < 0) return `exception to EL${el}: ${words}, from EL${from}, pc ${pc}`;
    return `${this.#name(left)}: exit ${words} at EL${from}, pc ${pc}`;
  }

  /** The same for an exception return. */
  returned(vcpu: Vcpu, from: number, entered: number): string | undefined {
    if (this.#points.size === 0) return undefined;
    const { el, pc } = vcpu.state;
    const caught = [...this.#points.values()].some((point) =>
      (point.kind === "enter" ? entered >= 0 : point.kind === "eret") && (point.el === null || point.el === el)
    );
    if (!caught) return undefined;
    return entered >= 0
      ? `${this.#name(entered)}: entered at EL${el}, pc ${hex(pc)}`
      : `exception return from EL${from} to EL${el}, pc ${hex(pc)}`;
  }

  #name(world: number): string {
    const { context, thread } = this.area.world(world);
    return `vm ${this.area.contexts[context]!.vmid} vcpu ${thread - 1}`;
  }
}

function isOf(name: string, kind: number, syndrome: number): boolean {
  if (kind !== EXIT_KIND.SYNC) return INTERRUPTS[kind - 1] === name;
  return CLASSES[name]?.includes(syndrome >>> 26) ?? false;
}
