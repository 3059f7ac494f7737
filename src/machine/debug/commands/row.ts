// What a monitor command and a table of `info os` are, and what the words of several of them need.

import { type AddressSpace, ERRNO, Refusal } from "../../../../gdbstub/target.ts";
import type { DebugControl } from "../control.ts";

/** Where a command is given. */
export interface CommandPlace {
  readonly control: DebugControl;
  readonly world: number;
  readonly space: AddressSpace;
}

export interface CommandRow {
  readonly name: string;
  readonly args: string;
  readonly help: string;
  readonly run: (at: CommandPlace, args: string) => string | Refusal;
}

export interface OsTableRow {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly columns: readonly string[];
  readonly rows: (control: DebugControl) => readonly (readonly string[])[];
}

export const refuse = (text: string) => new Refusal(text, ERRNO.EINVAL);

/** Columns as wide as their widest cell. */
export function tabulate(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, n) => Math.max(...rows.map((row) => row[n]!.length))) ?? [];
  return rows.map((row) => row.map((cell, n) => cell.padEnd(widths[n]!)).join("  ").trimEnd()).join("\n");
}

/** A number as people write it, 64 bits; undefined when it is none. */
export function number(text: string): bigint | undefined {
  if (!/^(0x[0-9a-f]+|\d+)$/i.test(text)) return undefined;
  const value = BigInt(text);
  return value < 1n << 64n ? value : undefined;
}
