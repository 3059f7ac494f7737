// What a generated module imports and how it calls it: the memory, the handler table, and TypeScript's functions by name.

import { assert } from "../base/errors.ts";
import { type HelperName, HELPERS } from "../isa/helpers.ts";
import { Code, Module, type ValueType } from "../wasm/module.ts";
import type { Callees } from "./emit.ts";

/** Size of the table of out-of-line handlers. */
export const TABLE_SIZE = 16384;
export const HELPER_NAMES = Object.keys(HELPERS) as readonly HelperName[];

/** Everything TypeScript supplies to generated code. All take the vCPU's base address first. */
export type Imports = Record<HelperName, (cpu: number, ...args: never[]) => number | bigint> & {
  /** (cpu, vaLo, vaHi, desc) → host address, 0 after a fault; see src/mmu/access.ts. */
  dataRead: (cpu: number, vaLo: number, vaHi: number, desc: number) => number;
  dataWrite: (cpu: number, vaLo: number, vaHi: number, desc: number) => number;
  /** (cpu) → record address of the instruction at state.pc, 0 after a fault. */
  fetch: (cpu: number) => number;
  /** (cpu, record): fills the record of an instruction that was not met before. */
  predecode: (cpu: number, record: number) => void;
};

/** A module in the making, with its imports by name. */
export class Linker {
  readonly module = new Module();
  readonly #indices = new Map<string, number>();
  readonly callees: Callees;
  constructor(names: readonly string[], pages: number, table: boolean) {
    this.module.importMemory("memory", pages, pages);
    if (table) this.module.importTable("handlers", TABLE_SIZE);
    for (const name of names) {
      const { params, results } = signature(name);
      this.#indices.set(name, this.module.importFunction(name, params, results));
    }
    this.callees = {
      slowRead: this.#indices.get("slowRead") ?? -1,
      slowWrite: this.#indices.get("slowWrite") ?? -1,
      helper: (name) => this.index(name),
    };
  }
  index(name: string): number {
    const index = this.#indices.get(name);
    assert(index !== undefined, `${name} is not imported`);
    return index;
  }
  define(name: string, code: Code): number {
    const index = this.module.add(code, name);
    this.#indices.set(name, index);
    return index;
  }
}
/** The type of an import or of a function of the main module. */
export function signature(name: string): { params: ValueType[]; results: ValueType[] } {
  if (name === "dataRead" || name === "dataWrite") return { params: ["i32", "i32", "i32", "i32"], results: ["i32"] };
  if (name === "slowRead" || name === "slowWrite") return { params: ["i32", "i32", "i64", "i32"], results: ["i32"] };
  if (name === "fetch") return { params: ["i32"], results: ["i32"] };
  if (name === "marked") return { params: ["i32", "i32"], results: ["i32"] };
  if (name === "predecode") return { params: ["i32", "i32"], results: [] };
  const helper = HELPERS[name as HelperName];
  const results: ValueType[] = helper.result === "none" ? [] : [helper.result === "status" ? "i32" : helper.result];
  return { params: ["i32", ...helper.params], results };
}
