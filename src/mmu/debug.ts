// Address translation for the debugger: any regime, given registers (of a vCPU, or saved ones of a guest that is not
// running), without side effects: no flags are updated, no TLB is filled, no exception is taken, permissions do not matter.
// Devices are not touched, since reading a register may change it.

import type { PhysicalBus } from "../memory/bus.ts";
import { PAGE_BYTES } from "../memory/host_map.ts";
import {
  contextKey,
  Controls,
  decodeControls,
  type Features,
  type TranslationRegisters,
  type Viewpoint,
} from "./controls.ts";
import { ACCESS } from "./fault.ts";
import { type DescriptorTrace, WALK, Walker } from "./walk.ts";

/** What a walk found: the walker with its fields, valid until the next walk, and the controls it went by. */
export interface DebugWalk {
  readonly found: boolean;
  readonly walker: Walker;
  readonly controls: Controls;
}

const half = (va: bigint, shift: bigint): number => Number((va >> shift) & 0xffff_ffffn) | 0;

export class DebugTranslator {
  readonly #bus: PhysicalBus;
  readonly #walker: Walker;
  readonly #features: Features;
  readonly #controls: Controls = new Controls();

  constructor(bus: PhysicalBus, memory: ArrayBufferLike, features: Features) {
    this.#bus = bus;
    this.#walker = new Walker(bus, memory);
    this.#features = features;
  }

  /** Walks for `va`; `trace` sees every descriptor. */
  walk(registers: TranslationRegisters, viewpoint: Viewpoint, va: bigint, trace?: DescriptorTrace): DebugWalk {
    const walker = this.#walker, controls = this.#controls;
    contextKey(controls.key, registers, this.#features, viewpoint);
    decodeControls(controls, this.#features);
    walker.trace = trace;
    const found = walker.translate(controls, half(va, 0n), half(va, 32n), ACCESS.READ, WALK.UNCHECKED);
    walker.trace = undefined;
    return { found, walker, controls };
  }

  /** Walks for an intermediate physical address, through stage 2 alone. */
  walkIpa(registers: TranslationRegisters, viewpoint: Viewpoint, ipa: number, trace?: DescriptorTrace): DebugWalk {
    const walker = this.#walker, controls = this.#controls;
    contextKey(controls.key, registers, this.#features, viewpoint);
    decodeControls(controls, this.#features);
    walker.trace = trace;
    const found = walker.translateIpa(controls, ipa, ACCESS.READ, WALK.UNCHECKED);
    walker.trace = undefined;
    return { found, walker, controls };
  }

  /** Physical address of `va`, undefined when nothing is mapped there. */
  translate(registers: TranslationRegisters, viewpoint: Viewpoint, va: bigint): number | undefined {
    const { found, walker } = this.walk(registers, viewpoint, va);
    return found ? walker.pa : undefined;
  }

  /** Reads up to `count` bytes at `va`; fewer where the memory ends. */
  read(registers: TranslationRegisters, viewpoint: Viewpoint, va: bigint, count: number): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(count);
    let at = 0;
    while (at < count) {
      const address = BigInt.asUintN(64, va + BigInt(at));
      const bytes = Math.min(count - at, PAGE_BYTES - Number(address & 4095n));
      const pa = this.translate(registers, viewpoint, address);
      const data = pa === undefined ? undefined : this.#bus.readBytes(pa, bytes);
      if (data === undefined) break;
      out.set(data, at);
      at += bytes;
    }
    return out.slice(0, at);
  }

  /** Writes all of `data` at `va`, read-only mappings and ROM included, or answers false and writes nothing. */
  write(registers: TranslationRegisters, viewpoint: Viewpoint, va: bigint, data: Uint8Array): boolean {
    const pieces: { pa: number; at: number; bytes: number }[] = [];
    for (let at = 0; at < data.length;) {
      const address = BigInt.asUintN(64, va + BigInt(at));
      const bytes = Math.min(data.length - at, PAGE_BYTES - Number(address & 4095n));
      const pa = this.translate(registers, viewpoint, address);
      if (pa === undefined || this.#bus.hostPage(pa) === 0) return false;
      pieces.push({ pa, at, bytes });
      at += bytes;
    }
    for (const { pa, at, bytes } of pieces) this.#bus.writeBytes(pa, data.subarray(at, at + bytes), true);
    return true;
  }
}
