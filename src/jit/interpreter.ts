// Tier 0: an interpreter generated as Wasm from the instruction definitions. One function with a `br_table` loop runs
// predecoded 16-byte records; the most frequent handlers are inside it, all others are functions of their own behind a
// table, generated when an instruction of their shape is first predecoded. `docs/how-it-works.md` walks through it.
//
// Record: u16 handler number, then the operands that `define.ts` placed. Numbers below the inline count are cases of the
// `br_table`; others are table indices of out-of-line handlers.

import { assert } from "../base/errors.ts";
import { LEAVE } from "../cpu/status.ts";
import { DEBUGGER_WATCHES } from "../memory/host_map.ts";
import { NOTHING_WATCHED, type Watches } from "./emit.ts";
import { HANDLER } from "./frames.ts";
import { type Imports, TABLE_SIZE } from "./linker.ts";
import { buildHandlers, buildMain, buildMarked } from "./main_function.ts";
import type { Shape } from "./shape.ts";

type Handler = (cpu: number, record: number) => number;

/** One way to generate all handlers. The same handlers have the same numbers in each. */
interface Engine {
  readonly watches: Watches;
  readonly run: (cpu: number) => number;
  readonly handlers: WebAssembly.Table;
  readonly imports: WebAssembly.Imports;
}

/** The generated interpreter over one memory. */
export class Interpreter {
  /** Runs vCPU `cpu` from state.pc for up to state.budget instructions; see EXIT. */
  run: (cpu: number) => number;
  /** (cpu, record): what to do at a marked record; a status, or the number of the out-of-line handler to go on with. */
  onMarked: Handler | undefined;
  /** Asked next, where that goes on: the guest's own breakpoints. A status; CONTINUE goes on. */
  onMarkedByGuest: Handler | undefined;
  readonly #numbers = new Map<string, number>();
  readonly #shapes = new Map<number, Shape>();
  /** Those of inline shapes that exist out of line too, by key, and all that are out of line. */
  readonly #doubles = new Map<string, number>();
  readonly #outOfLine = new Map<Shape, number>();
  readonly #engines: Engine[] = [];
  readonly #memory: WebAssembly.Memory;
  readonly #given: Imports;
  readonly #inline: readonly Shape[];
  readonly #pages: number;
  #engine: Engine;
  #watches = { ranges: 0, reads: false };
  #guestWatches = 0;
  #next: number;

  /** With `profileAt`, u32 counters from that address on count how often each out-of-line handler is called. */
  constructor(memory: WebAssembly.Memory, imports: Imports, inline: readonly Shape[], profileAt?: number) {
    this.#pages = memory.buffer.byteLength / 65536;
    this.#memory = memory;
    this.#given = imports;
    this.#inline = inline;
    inline.forEach((shape, i) => this.#name(shape, HANDLER.FIRST + i));
    this.#next = HANDLER.FIRST + inline.length;
    this.#engine = this.#build(NOTHING_WATCHED, profileAt);
    this.run = this.#engine.run;
  }
  #build(watches: Watches, profileAt?: number): Engine {
    const handlers = new WebAssembly.Table({ element: "anyfunc", initial: TABLE_SIZE });
    const marked: Handler = (cpu, record) => {
      const answer = this.onMarked!(cpu, record);
      return answer <= LEAVE ? answer : this.onMarkedByGuest?.(cpu, record) || answer;
    };
    const imports: WebAssembly.Imports = { env: { memory: this.#memory, handlers, marked, ...this.#given } };
    const main = new WebAssembly.Module(buildMain(this.#pages, this.#inline, profileAt, watches));
    const { exports } = new WebAssembly.Instance(main, imports);
    Object.assign(imports["env"]!, { slowRead: exports["slowRead"], slowWrite: exports["slowWrite"] });
    const engine = { watches, run: exports["run"] as (cpu: number) => number, handlers, imports };
    this.#engines.push(engine);
    this.#instantiate(engine, buildMarked(this.#pages));
    if (this.#outOfLine.size > 0) this.#generate(engine, this.#outOfLine);
    return engine;
  }
  #instantiate({ imports }: Engine, bytes: Uint8Array<ArrayBuffer>) {
    new WebAssembly.Instance(new WebAssembly.Module(bytes), imports);
  }
  #generate(engine: Engine, numbers: ReadonlyMap<Shape, number>) {
    this.#instantiate(
      engine,
      buildHandlers(this.#pages, [...numbers.keys()], (s) => numbers.get(s)!, engine.watches),
    );
  }
  /** Generates handlers that stand alone, in every engine there is. */
  #add(numbers: ReadonlyMap<Shape, number>) {
    for (const [shape, number] of numbers) this.#outOfLine.set(shape, number);
    for (const engine of this.#engines) this.#generate(engine, numbers);
  }
  #take(): number {
    assert(this.#next < HANDLER.MARKED, "the handler table is full");
    return this.#next++;
  }
  /** From now on writes, or all accesses, are compared with this many ranges of the vCPU that the debugger watches. */
  watch(ranges: number, reads: boolean): void {
    this.#watches = { ranges, reads };
    this.#choose();
  }
  /** And with this many of the guest's watchpoints. */
  watchForGuest(count: number): void {
    this.#guestWatches = count;
    this.#choose();
  }
  #choose(): void {
    const own = Array.from({ length: this.#watches.ranges }, (_, n) => n);
    const guests = Array.from({ length: this.#guestWatches }, (_, n) => DEBUGGER_WATCHES + n);
    const watches = { reads: [...this.#watches.reads ? own : [], ...guests], writes: [...own, ...guests] };
    const key = JSON.stringify(watches);
    this.#engine = this.#engines.find((e) => JSON.stringify(e.watches) === key) ?? this.#build(watches);
    this.run = this.#engine.run;
  }
  /** The number of a handler of this shape that stands alone; nearness and operands are those of its record. */
  outOfLine(shape: Shape): number {
    const number = this.handlerNumbers([shape])[0]!;
    if (number >= HANDLER.FIRST + this.#inline.length) return number;
    const known = this.#doubles.get(shape.key);
    if (known !== undefined) return known;
    const fresh = this.#take();
    this.#doubles.set(shape.key, fresh);
    this.#add(new Map([[shape, fresh]]));
    return fresh;
  }
  /** An out-of-line handler, to execute one instruction: (cpu, record) → status. state.pcDelta must be right. */
  handler(number: number): Handler {
    return this.#engine.handlers.get(number) as Handler;
  }
  /** The handler of marked records. */
  get marked(): Handler {
    return this.handler(HANDLER.MARKED);
  }
  #name(shape: Shape, number: number) {
    this.#numbers.set(shape.key, number);
    this.#shapes.set(number, shape);
  }
  /** The handler numbers of `shapes`; those met for the first time are generated in one module. */
  handlerNumbers(shapes: readonly Shape[]): number[] {
    const fresh = new Map<Shape, number>();
    for (const shape of shapes) {
      if (this.#numbers.has(shape.key)) continue;
      const number = this.#take();
      this.#name(shape, number);
      fresh.set(shape, number);
    }
    if (fresh.size > 0) this.#add(fresh);
    return shapes.map((shape) => this.#numbers.get(shape.key)!);
  }
  /** Every shape that has a handler, with the handler's number. */
  get shapes(): ReadonlyMap<number, Shape> {
    return this.#shapes;
  }
}
