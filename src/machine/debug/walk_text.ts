// A translation for people: every descriptor that is read, with the walk of stage 2 that leads to it, and what came of it.

import { faultStatusWords } from "../../arch/esr_text.ts";
import { hex } from "../../base/trace.ts";
import { type AddressSpace, ERRNO, Refusal } from "../../../gdbstub/target.ts";
import { PERMIT, type Walker } from "../../mmu/walk.ts";
import type { GuestMemory, Regime } from "./memory.ts";
import { contextName } from "./words.ts";

function descriptorWords(level: number, lo: number, hi: number): string {
  if ((lo & 1) === 0) return "invalid";
  if (level === 3) return (lo & 2) !== 0 ? "page" : "reserved";
  const table = (lo & 2) !== 0, flags: string[] = [];
  if (table) {
    if ((hi & 1 << 28) !== 0) flags.push("XNTable");
    if ((hi & 1 << 27) !== 0) flags.push("PXNTable");
    if ((hi & 1 << 29) !== 0) flags.push("no EL0");
    if ((hi & 1 << 30) !== 0) flags.push("read-only");
  }
  return [table ? "table" : "block", ...flags].join(", ");
}

const permitWords = (permit: number): string =>
  (permit & PERMIT.READ ? "r" : "-") + (permit & PERMIT.WRITE ? "w" : "-") + (permit & PERMIT.EXECUTE ? "x" : "-");

const SHAREABILITY = ["non-shareable", "reserved", "outer shareable", "inner shareable"];
const sizeWords = (bits: number): string =>
  bits >= 30 ? `${2 ** (bits - 30)} GiB` : bits >= 20 ? `${2 ** (bits - 20)} MiB` : `${2 ** (bits - 10)} KiB`;

function leafWords(w: Walker, stage1: boolean, stage2: boolean): string[] {
  const lines: string[] = [];
  if (stage1) {
    lines.push(
      `stage 1: ${sizeWords(w.sizeBits)} ${w.sizeBits > 16 ? "block" : "page"}, MAIR attribute ${hex(w.attributes)}, ` +
        `${SHAREABILITY[w.shareability]}`,
    );
  }
  if (stage2) {
    lines.push(
      `stage 2: ${sizeWords(w.sizeBits2)} ${w.sizeBits2 > 16 ? "block" : "page"}, MemAttr ${hex(w.attributes2)}, ` +
        `${SHAREABILITY[w.shareability2]}, ${permitWords(w.permit2)}`,
    );
  }
  lines.push(`together: ${permitWords(w.permit)}, ${w.device ? "device" : "normal"} memory`);
  return lines;
}

function walkOne(memory: GuestMemory, { name, registers, viewpoint, ipa: viaIpa }: Regime, address: bigint): {
  readonly found: boolean;
  readonly text: string;
} {
  if (viewpoint === null) return { found: true, text: `${name}: PA ${hex(address)}` };
  const lines: string[] = [], second: string[] = [];
  const trace = (stage: 1 | 2, level: number, at: number, lo: number, hi: number) => {
    const value = `0x${(BigInt(hi >>> 0) << 32n | BigInt(lo >>> 0)).toString(16).padStart(16, "0")}`;
    const words = descriptorWords(level, lo, hi);
    if (stage === 2) second.push(`stage 2 level ${level}: PA ${hex(at)} has ${value}, ${words}`);
    else {
      const through = second.splice(0).map((line) => `    ${line}`);
      const kind = memory.translator === undefined || through.length === 0 ? "PA" : "IPA";
      lines.push(...through, `  stage 1 level ${level}: ${kind} ${hex(at)} has ${value}, ${words}`);
    }
  };
  const { found, walker, controls } = viaIpa
    ? memory.translator.walkIpa(registers, viewpoint, Number(address), trace)
    : memory.translator.walk(registers, viewpoint, address, trace);
  lines.push(...second.map((line) => `  ${line}`));
  const stage1 = !viaIpa && controls.stage1, head = `${name}: VA ${hex(address)}`;
  if (!stage1 && !viaIpa) lines.unshift("  stage 1 is off: the address passes unchanged");
  if (!found) {
    const where = walker.stage === 2 ? `stage 2, IPA ${hex(walker.ipa)}` : "stage 1";
    const walk = walker.s1ptw ? ", on the walk of stage 1" : "";
    lines.push(`  ${faultStatusWords(walker.fault)} at ${where}${walk}`);
    return { found, text: [head, ...lines].join("\n") };
  }
  const { pa } = walker, ipa = controls.stage2 ? `IPA ${hex(walker.ipa)}, ` : "";
  lines.push(...leafWords(walker, stage1, controls.stage2).map((line) => `  ${line}`));
  const kind = memory.bus.hostPage(pa) !== 0
    ? "memory"
    : memory.bus.regions.find((r) => pa >= r.base && pa < r.base + r.size)?.name ?? "nothing there";
  return { found, text: [head, ...lines, `  is ${ipa}PA ${hex(pa)}: ${kind}`].join("\n") };
}

/** The walk of an address of a world, through each of its regimes until one maps it. */
export function walkText(memory: GuestMemory, world: number, space: AddressSpace, address: bigint): string | Refusal {
  const { area } = memory, regimes = memory.regimes(world, space);
  if (regimes.length === 0) return new Refusal(`the context has no ${space} regime now`, ERRNO.EINVAL);
  if (regimes[0]!.ipa && address >= 1n << 48n) {
    return new Refusal(`${hex(address)} has more than 48 bits`, ERRNO.EINVAL);
  }
  const { context, thread } = area.world(world), texts: string[] = [];
  for (const regime of regimes) {
    const { found, text } = walkOne(memory, regime, address);
    texts.push(`${contextName(area, context)} vcpu ${thread - 1}, ${text}`);
    if (found) break;
  }
  return texts.join("\n");
}
