// Tier 0: an interpreter generated as Wasm from the instruction definitions. One function with a `br_table` loop runs
// predecoded 16-byte records; the most frequent handlers are inside it, all others are functions of their own behind a
// table, generated when an instruction of their shape is first predecoded. `docs/how-it-works.md` walks through it.
//
// Record: u16 handler number, then the operands that `define.ts` placed. Numbers below the inline count are cases of the
// `br_table`; others are table indices of out-of-line handlers.

import { assert } from "../base/errors.ts";
import { HANDLER } from "./frames.ts";
import { type Imports, TABLE_SIZE } from "./linker.ts";
import { buildHandlers, buildMain } from "./main_function.ts";
import type { Shape } from "./shape.ts";

/** The generated interpreter over one memory. */
export class Interpreter {
  /** Runs vCPU `cpu` from state.pc for up to state.budget instructions; see EXIT. */
  readonly run: (cpu: number) => number;
  readonly #numbers = new Map<string, number>();
  readonly #shapes = new Map<number, Shape>();
  readonly #handlers: WebAssembly.Table;
  readonly #imports: WebAssembly.Imports;
  readonly #pages: number;
  #next: number;

  /** With `profileAt`, u32 counters from that address on count how often each out-of-line handler is called. */
  constructor(memory: WebAssembly.Memory, imports: Imports, inline: readonly Shape[], profileAt?: number) {
    this.#pages = memory.buffer.byteLength / 65536;
    this.#handlers = new WebAssembly.Table({ element: "anyfunc", initial: TABLE_SIZE });
    this.#imports = { env: { memory, handlers: this.#handlers, ...imports } };
    inline.forEach((shape, i) => this.#name(shape, HANDLER.FIRST + i));
    this.#next = HANDLER.FIRST + inline.length;
    const instance = new WebAssembly.Instance(
      new WebAssembly.Module(buildMain(this.#pages, inline, profileAt)),
      this.#imports,
    );
    this.run = instance.exports["run"] as (cpu: number) => number;
    Object.assign(this.#imports["env"]!, {
      slowRead: instance.exports["slowRead"],
      slowWrite: instance.exports["slowWrite"],
    });
  }
  #name(shape: Shape, number: number) {
    this.#numbers.set(shape.key, number);
    this.#shapes.set(number, shape);
  }
  /** The handler numbers of `shapes`; those met for the first time are generated in one module. */
  handlerNumbers(shapes: readonly Shape[]): number[] {
    const fresh: Shape[] = [];
    for (const shape of shapes) {
      if (this.#numbers.has(shape.key)) continue;
      assert(this.#next < TABLE_SIZE, "the handler table is full");
      this.#name(shape, this.#next++);
      fresh.push(shape);
    }
    if (fresh.length) {
      const bytes = buildHandlers(this.#pages, fresh, (shape) => this.#numbers.get(shape.key)!);
      new WebAssembly.Instance(new WebAssembly.Module(bytes), this.#imports);
    }
    return shapes.map((shape) => this.#numbers.get(shape.key)!);
  }
  /** Every shape that has a handler, with the handler's number. */
  get shapes(): ReadonlyMap<number, Shape> {
    return this.#shapes;
  }
}
