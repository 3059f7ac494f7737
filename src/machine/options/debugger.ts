// The options of the debugger: `-gdb`, `-s`, `-S`, `-symbols`.

import { UsageError } from "../../base/errors.ts";
import { DEFAULT_GDB_ADDRESS, GDB_ADDRESS_FORM, type GdbAddress, parseGdbAddress } from "../../../gdbstub/address.ts";
import type { DebugConfig, SymbolFile } from "../config.ts";
import { flag, type Option, option } from "./declare.ts";
import type { ValueKind } from "./values.ts";

export interface DebuggerDraft {
  gdb: GdbAddress | null;
  startStopped: boolean;
  symbols: SymbolFile[];
}

export const newDebuggerDraft = (): DebuggerDraft => ({ gdb: null, startStopped: false, symbols: [] });

const ADDRESS: ValueKind<GdbAddress | null> = {
  form: GDB_ADDRESS_FORM,
  parse: (value) => value === "none" ? null : parseGdbAddress(value),
};

/** `CONTEXT=FILE`: gdb's number, `hypervisor`, or `vm` and a VMID. */
const SYMBOLS: ValueKind<SymbolFile> = {
  form: "CONTEXT=FILE",
  parse(value) {
    const [, context, file] = /^([^=]*)=(.+)$/.exec(value) ?? [];
    if (context === undefined || file === undefined) throw new UsageError(`"${value}" is not CONTEXT=FILE`);
    const vm = /^vm(\d+)$/.exec(context), number = context === "hypervisor" ? 1 : Number(context);
    if (vm !== null) return { context: null, vmid: Number(vm[1]), file };
    if (!/^(hypervisor|[1-9]\d*)$/.test(context)) {
      throw new UsageError(`"${context}" is no context: hypervisor, vm and a VMID, or the debugger's number`);
    }
    return { context: number, vmid: null, file };
  },
};

export function debuggerOptions<D extends DebuggerDraft>(): readonly Option<D>[] {
  return [
    flag("S", "start stopped, for the debugger", (draft: D) => {
      draft.startStopped = true;
    }),
    option("gdb", ADDRESS, "debugger server", (draft: D, address) => {
      draft.gdb = address;
    }),
    flag("s", "-gdb tcp:127.0.0.1:1234", (draft: D) => {
      draft.gdb = DEFAULT_GDB_ADDRESS;
    }),
    option("symbols", SYMBOLS, "ELF file that the debugger gets for a context: hypervisor, vmN", (draft: D, file) => {
      draft.symbols.push(file);
    }),
  ];
}

/** The configuration that the draft asks for. Throws UsageError. */
export function debugConfig({ gdb, startStopped, symbols }: DebuggerDraft): DebugConfig {
  if (symbols.length > 0 && gdb === null) throw new UsageError("option -symbols needs -gdb or -s");
  return { gdb, startStopped, symbols };
}
