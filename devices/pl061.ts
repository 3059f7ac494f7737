// The PL061 GPIO, by Arm DDI 0190: eight pins with edge and level interrupts. On `virt` pin 3 is the power button.
// Left out: alternate functions (GPIOAFSEL is stored only) and the integration test registers.

import { struct, type View } from "../src/base/struct.ts";
import type { MmioRegion } from "../src/memory/bus.ts";
import type { Line } from "../src/memory/line.ts";
import { type GuestErrors, primeCellIdentification, RegisterMap, type RegisterSpec } from "./registers.ts";

export const PL061_STATE = struct("pl061", {
  /** Levels that the outside drives, and the output latch. */
  input: "u32",
  output: "u32",
  /** GPIODIR: 1 is an output. */
  direction: "u32",
  /** GPIOIS, GPIOIBE, GPIOIEV, GPIOIE. */
  levelSense: "u32",
  bothEdges: "u32",
  event: "u32",
  enable: "u32",
  /** Latched edges. */
  edges: "u32",
  alternate: "u32",
  line: "u32",
});

type Field = "direction" | "levelSense" | "bothEdges" | "event" | "enable" | "alternate";
const stored = (at: number, name: string, field: Field): RegisterSpec<Pl061> => ({
  at,
  name,
  bits: "RES0:24 PINS:8",
  read: (d) => d.state[field],
  write: (d, v) => {
    d.state[field] = v;
    d.update();
  },
});

/** GPIODATA is 256 words: address bits 9..2 are a mask of the pins that are accessed. */
const DATA: readonly RegisterSpec<Pl061>[] = Array.from({ length: 256 }, (_, mask) => ({
  at: mask * 4,
  name: `GPIODATA[0x${mask.toString(16)}]`,
  bits: "RES0:24 PINS:8",
  read: (d: Pl061) => d.pins() & mask,
  write: (d: Pl061, v: number) => d.writeData(mask, v),
}));

const REGISTERS = new RegisterMap<Pl061>(0x1000, [
  ...DATA,
  stored(0x400, "GPIODIR", "direction"),
  stored(0x404, "GPIOIS", "levelSense"),
  stored(0x408, "GPIOIBE", "bothEdges"),
  stored(0x40c, "GPIOIEV", "event"),
  stored(0x410, "GPIOIE", "enable"),
  { at: 0x414, name: "GPIORIS", bits: "RES0:24 PINS:8", read: (d) => d.raw() },
  { at: 0x418, name: "GPIOMIS", bits: "RES0:24 PINS:8", read: (d) => d.raw() & d.state.enable },
  { at: 0x41c, name: "GPIOIC", bits: "RES0:24 PINS:8", write: (d, v) => d.clear(v) },
  stored(0x420, "GPIOAFSEL", "alternate"),
  // PeriphID4..7 exist on this PrimeCell and are zero.
  ...[0xfd0, 0xfd4, 0xfd8, 0xfdc].map((at, i): RegisterSpec<Pl061> => ({
    at,
    name: `PeriphID${4 + i}`,
    bits: "RES0:24 ID:8",
    read: () => 0,
  })),
  ...primeCellIdentification<Pl061>([0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1]),
]);

export interface Pl061Options {
  readonly base: number;
  readonly memory: ArrayBufferLike;
  /** Byte address of PL061_STATE in `memory`. */
  readonly stateBase: number;
  readonly line: Line;
  readonly guestErrors: GuestErrors;
}

export class Pl061 implements MmioRegion {
  readonly name = "pl061";
  readonly base: number;
  readonly size = 0x1000;
  readonly state: View<typeof PL061_STATE.spec>;
  readonly guestErrors: GuestErrors;
  readonly #line: Line;

  constructor(options: Pl061Options) {
    this.base = options.base;
    this.state = PL061_STATE.at(options.memory, options.stateBase);
    this.guestErrors = options.guestErrors;
    this.#line = options.line;
    this.reset();
  }

  reset(): void {
    this.state.bytes.fill(0);
    this.#line(false);
  }

  read(offset: number, bytes: number): number {
    return REGISTERS.read(this, offset, bytes);
  }

  write(offset: number, bytes: number, value: number): void {
    REGISTERS.write(this, offset, bytes, value);
  }

  /** The outside drives `pin` (0 to 7). A button's release must come later than its press, or the guest misses it. */
  setInput(pin: number, level: boolean): void {
    const { input, direction, levelSense, bothEdges, event } = this.state, bit = 1 << pin;
    const now = level ? input | bit : input & ~bit, changed = (input ^ now) & ~direction;
    this.state.input = now;
    this.state.edges |= changed & ~levelSense & (bothEdges | ~(now ^ event));
    this.update();
  }

  /** Levels of the pins. */
  pins(): number {
    const { input, output, direction } = this.state;
    return (input & ~direction) | (output & direction);
  }

  writeData(mask: number, value: number): void {
    const pins = mask & this.state.direction;
    this.state.output = (this.state.output & ~pins) | (value & pins);
    this.update();
  }

  /** GPIORIS: latched edges, and present levels of level-sensitive pins. */
  raw(): number {
    const { levelSense, event, edges } = this.state;
    return (edges & ~levelSense) | (levelSense & ~(this.pins() ^ event) & 0xff);
  }

  clear(bits: number): void {
    this.state.edges &= ~bits;
    this.update();
  }

  update(): void {
    const level = (this.raw() & this.state.enable) !== 0 ? 1 : 0;
    if (level === this.state.line) return;
    this.state.line = level;
    this.#line(level === 1);
  }
}
