// An instruction's text for people. `disassemble` writes what any assembler reads back, whatever it knows of extensions;
// this puts in the names of system registers and instructions, and the targets of branches where the address is known.

import { systemInstructionName } from "../arch/esr_text.ts";
import { SYSTEM_INSTRUCTIONS } from "../arch/sysinsns.ts";
import { type Encoding, sysregKey } from "../arch/sysreg.ts";
import { ENCODINGS } from "../arch/sysregs.ts";
import { type Definition, disassemble } from "./define.ts";

const HINTS = ["nop", "yield", "wfe", "wfi", "sev", "sevl"];
const BARRIER_OPTIONS = ["oshld", "oshst", "osh", "nshld", "nshst", "nsh", "ishld", "ishst", "ish", "ld", "st", "sy"];

const key = (fields: readonly string[]) => sysregKey(fields.map(Number) as unknown as Encoding);

/** The text of `word`, at address `pc` if that is known. */
export function readableText(definition: Definition, word: number, pc?: bigint): string {
  const text = disassemble(definition, word)
    .replace(
      /\bs([23])_([0-7])_c(\d+)_c(\d+)_([0-7])\b/,
      (generic, ...fields: string[]) => ENCODINGS.get(key(fields.slice(0, 5)))?.spelling.toLowerCase() ?? generic,
    )
    .replace(/^sys #([0-7]), c(\d+), c(\d+), #([0-7])(?=,)/, (generic, ...fields: string[]) => {
      const instruction = SYSTEM_INSTRUCTIONS.get(key(["1", ...fields.slice(0, 4)]));
      return instruction === undefined ? generic : systemInstructionName(instruction).toLowerCase();
    })
    .replace(/^hint #(\d+)$/, (generic, n: string) => HINTS[Number(n)] ?? generic)
    .replace(/^(dmb|dsb) #(\d+)$/, (generic, barrier: string, option: string) => {
      // Every fourth number is reserved.
      const n = Number(option), name = n % 4 === 0 ? undefined : BARRIER_OPTIONS[n - 1 - Math.floor(n / 4)];
      return name === undefined ? generic : `${barrier} ${name}`;
    })
    .replace(/^isb #15$/, "isb");
  if (pc === undefined) return text;
  return text.replace(/ \.(-?\d+)( pages)?$/, (_, distance: string, pages: string | undefined) => {
    const target = pages === undefined ? pc + BigInt(distance) : (pc & ~0xfffn) + (BigInt(distance) << 12n);
    return ` 0x${BigInt.asUintN(64, target).toString(16)}`;
  });
}
