// Translation contexts. A context number (1 to 1022) stands for everything that selects a translation: regime, EL0 or not,
// PAN, and the values of the registers that control it. Going back to values that were used before finds the old number,
// so that switching address space, guest or exception level leaves the TLBs as they are. Invalidation by ASID or VMID
// retires numbers; when they run out, everything is flushed. Numbers are looked up when an access needs one: a write to a
// control register merely sets `state.context` to 0, which matches no TLB entry.

import type { VcpuState } from "../cpu/vcpu.ts";
import {
  contextKey,
  Controls,
  decodeControls,
  type Features,
  hasE2H,
  isHost,
  KEY_WORDS,
  REGIME,
  type TranslationRegisters,
  type Viewpoint,
} from "./controls.ts";

/** Who may be translating; the cached numbers are kept by these. */
export const VIEW = { EL10_EL0: 0, EL1: 1, EL1_PAN: 2, EL2: 3, EL20_EL2: 4, EL20_EL2_PAN: 5, EL20_EL0: 6 } as const;
export type View = typeof VIEW[keyof typeof VIEW];

const VIEWPOINTS: readonly Viewpoint[] = [
  { regime: REGIME.EL10, el0: true, pan: false },
  { regime: REGIME.EL10, el0: false, pan: false },
  { regime: REGIME.EL10, el0: false, pan: true },
  { regime: REGIME.EL2, el0: false, pan: false },
  { regime: REGIME.EL20, el0: false, pan: false },
  { regime: REGIME.EL20, el0: false, pan: true },
  { regime: REGIME.EL20, el0: true, pan: false },
];

const LAST_NUMBER = 1022;
const BUCKETS = 4096;

export class Contexts {
  readonly #state: VcpuState;
  readonly #registers: TranslationRegisters;
  readonly #features: Features;
  readonly #flush: () => void;
  /** By number; those made once are used again. */
  readonly #controls: Controls[] = [];
  readonly #live: Uint8Array = new Uint8Array(LAST_NUMBER + 1);
  /** Open hashing of keys to numbers. Retired ones stay until the next flush. */
  readonly #buckets: Uint16Array = new Uint16Array(BUCKETS);
  readonly #key: Int32Array = new Int32Array(KEY_WORDS);
  /** By view: its number, 0 if it has to be looked up. */
  readonly #known: Uint16Array = new Uint16Array(VIEWPOINTS.length);
  #next = 1;

  /** `flush` drops all TLB entries. */
  constructor(state: VcpuState, registers: TranslationRegisters, features: Features, flush: () => void) {
    this.#state = state;
    this.#registers = registers;
    this.#features = features;
    this.#flush = flush;
    this.#controls[0] = new Controls();
    state.context = state.contextUnprivileged = 0n;
  }

  /** How many numbers are in use or retired. */
  get count(): number {
    return this.#next - 1;
  }

  /** The exception level, PSTATE.PAN or PSTATE.UAO changed. */
  switched(): void {
    const state = this.#state;
    state.contextLo = this.#known[this.#view()]! << 2;
    state.contextUnprivilegedLo = this.#known[this.#unprivilegedView()]! << 2;
  }

  /** A register that translation depends on changed. */
  changed(): void {
    const state = this.#state, known = this.#known;
    // A hypervisor that loads a guest's registers goes on with its own translation: see whether that is so.
    if (state.el === 2 && this.#unchanged(state.contextLo >>> 2)) {
      const view = this.#view(), number = state.contextLo >>> 2;
      known.fill(0);
      known[view] = number;
    } else {
      known.fill(0);
      state.contextLo = 0;
    }
    state.contextUnprivilegedLo = 0;
  }

  /** Whether the current view still has context `number`. */
  #unchanged(number: number): boolean {
    if (number === 0 || this.#live[number] === 0) return false;
    contextKey(this.#key, this.#registers, this.#features, VIEWPOINTS[this.#view()]!);
    return sameKey(this.#controls[number]!.key, this.#key);
  }

  /** The current context, shifted as in tags, after looking it up if need be. */
  current(unprivileged: boolean): number {
    const state = this.#state;
    if (unprivileged) {
      return state.contextUnprivilegedLo ||= this.number(this.#unprivilegedView()) << 2;
    }
    return state.contextLo ||= this.number(this.#view()) << 2;
  }

  /** What a context number stands for. */
  controls(number: number): Controls {
    return this.#controls[number]!;
  }

  /** The controls for one who translates with the registers as they are now. */
  controlsOf(view: View): Controls {
    return this.#controls[this.number(view)]!;
  }

  /** The number of a view with the registers as they are now. */
  number(view: View): number {
    return this.#known[view] ||= this.#lookUp(VIEWPOINTS[view]!);
  }

  /** The view at the current exception level. */
  #view(): View {
    const { el, pan } = this.#state;
    if (el === 0) return isHost(this.#registers) ? VIEW.EL20_EL0 : VIEW.EL10_EL0;
    if (el === 1) return pan !== 0 ? VIEW.EL1_PAN : VIEW.EL1;
    if (!hasE2H(this.#registers)) return VIEW.EL2;
    return pan !== 0 ? VIEW.EL20_EL2_PAN : VIEW.EL20_EL2;
  }

  /** The view of LDTR and STTR. */
  #unprivilegedView(): View {
    const { el, uao } = this.#state;
    if (uao === 0) {
      if (el === 1) return VIEW.EL10_EL0;
      if (el === 2 && isHost(this.#registers)) return VIEW.EL20_EL0;
    }
    return this.#view();
  }

  #lookUp(viewpoint: Viewpoint): number {
    const key = this.#key;
    contextKey(key, this.#registers, this.#features, viewpoint);
    let h = 0;
    for (let i = 0; i < KEY_WORDS; i++) h = Math.imul(h ^ key[i]!, 0x9e3779b1) ^ (h >>> 15);
    let bucket = (h ^ (h >>> 12)) & (BUCKETS - 1);
    for (;; bucket = (bucket + 1) & (BUCKETS - 1)) {
      const number = this.#buckets[bucket]!;
      if (number === 0) break;
      if (this.#live[number] !== 0 && sameKey(this.#controls[number]!.key, key)) return number;
    }
    if (this.#next > LAST_NUMBER) {
      this.flush();
      return this.#lookUp(viewpoint);
    }
    const number = this.#next++, controls = this.#controls[number] ??= new Controls();
    controls.key.set(key);
    decodeControls(controls, this.#features);
    this.#live[number] = 1;
    this.#buckets[bucket] = number;
    return number;
  }

  /** Forgets every context and drops every TLB entry. */
  flush(): void {
    this.#live.fill(0);
    this.#buckets.fill(0);
    this.#next = 1;
    this.changed();
    this.#flush();
  }

  /** Retires the contexts that `matches`: nothing that was cached for them is ever used again. */
  retire(matches: (c: Controls) => boolean): void {
    let found = false;
    for (let number = 1; number < this.#next; number++) {
      if (this.#live[number] === 0 || !matches(this.#controls[number]!)) continue;
      this.#live[number] = 0;
      found = true;
    }
    if (found) this.changed();
  }
}

function sameKey(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < KEY_WORDS; i++) if (a[i] !== b[i]) return false;
  return true;
}
