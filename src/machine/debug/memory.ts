// Memory of a context, from any stop: through the translation regime its vCPU is in, and where that maps nothing through the
// context's others. Registers come from the vCPU, or from where they were saved when a virtual machine's vCPU left. Nothing
// of the machine changes but the bytes that are written; devices are not touched.

import type { PhysicalBus } from "../../memory/bus.ts";
import { type Features, hasE2H, REGIME, type TranslationRegisters, type Viewpoint } from "../../mmu/controls.ts";
import { DebugTranslator } from "../../mmu/debug.ts";
import { type AddressSpace, ERRNO, type Outcome, Refusal } from "../../../gdbstub/target.ts";
import type { Bank, DebugArea } from "./area.ts";
import type { Table } from "./worlds.ts";

/** One way to understand an address. */
export interface Regime {
  readonly name: string;
  readonly registers: TranslationRegisters;
  /** Null: the address is physical. */
  readonly viewpoint: Viewpoint | null;
  /** The address is an intermediate physical one: stage 2 alone. */
  readonly ipa?: boolean;
}

const EL10: Viewpoint = { regime: REGIME.EL10, el0: false, pan: false };
const EL2: Viewpoint = { regime: REGIME.EL2, el0: false, pan: false };
const EL20: Viewpoint = { regime: REGIME.EL20, el0: false, pan: false };
const HCR_STAGE2 = 1 | 1 << 12;
const PAGE = 4096;

export class GuestMemory {
  readonly translator: DebugTranslator;
  readonly #bytes: Uint8Array;

  constructor(readonly area: DebugArea, readonly bus: PhysicalBus, features: Features) {
    this.translator = new DebugTranslator(bus, area.buffer, features);
    this.#bytes = new Uint8Array(area.buffer);
  }

  /** The registers of a world: live, or as they were when it left. */
  bank(world: number): Bank {
    const { cpu } = this.area.world(world);
    return cpu >= 0 ? this.area.live[cpu]! : this.area.saved(world);
  }

  /** What the first table of a virtual machine's stage 2 looks like. */
  stage2Table(world: number): Table {
    const { registers, viewpoint } = this.regimes(world, "ipa")[0]!;
    const { controls: { second } } = this.translator.walkIpa(registers, viewpoint!, 0);
    if (!second.valid) return "used";
    const shift = second.granuleBits + (3 - second.startLevel) * (second.granuleBits - 3);
    const entries = 2 ** Math.max(0, second.inputBits - shift);
    let found: Table = "empty";
    for (let n = 0; n < entries; n++) {
      const at = second.table + n * 8, lo = this.bus.peek(at), hi = this.bus.peek(at + 4);
      if (lo < 0 || hi < 0) return "nonsense";
      if ((lo & 1) === 0) continue;
      const table = (lo & 2) !== 0 && second.startLevel < 3, next = (hi & 0xffff) * 2 ** 32 + ((lo & ~4095) >>> 0);
      if (table && this.bus.hostPage(next) === 0) return "nonsense";
      found = "used";
    }
    return found;
  }

  /** How a world's addresses are understood, in the order of preference. */
  regimes(world: number, space: AddressSpace): Regime[] {
    const { area } = this, hypervisor = world < area.cpus;
    const physical: Regime = { name: "physical", registers: this.bank(world).sys, viewpoint: null };
    if (space === "pa") return [physical];
    if (!hypervisor) {
      const registers = this.bank(world).sys;
      if (space === "ipa") return [{ name: "stage 2", registers, viewpoint: EL10, ipa: true }];
      return space === "el2" ? [] : [{ name: "EL1&0", registers, viewpoint: EL10 }];
    }
    if (space === "ipa") return [physical];
    const { state, sys } = area.live[world]!;
    if (area.header.hasEl2 === 0) {
      return space === "el2" ? [] : [{ name: "EL1&0", registers: sys, viewpoint: EL10 }];
    }
    const e2h = hasE2H(sys), own: Regime = { name: e2h ? "EL2&0" : "EL2", registers: sys, viewpoint: e2h ? EL20 : EL2 };
    const running = area.world(world).cpu >= 0,
      el1 = running && state.el < 2 && (sys.HCR_EL2Lo & HCR_STAGE2) === 0 &&
        !(e2h && (sys.HCR_EL2Lo & 1 << 27) !== 0);
    const host = area.host[world]!.sys, known = host.SCTLR_EL1 !== 0n;
    const low: Regime[] = el1
      ? [{ name: "EL1&0", registers: sys, viewpoint: EL10 }]
      : known
      ? [{ name: "the host's EL1&0", registers: host, viewpoint: EL10 }]
      : [];
    switch (space) {
      case "el2":
        return [own];
      case "el1":
        return low;
      case "el0":
        return e2h ? [own] : low;
      default:
        return el1 ? [...low, own] : [own, ...low];
    }
  }

  /** The physical address and how many bytes from there on are next to each other; undefined when nothing is mapped. */
  translate(regimes: readonly Regime[], address: bigint): { readonly pa: number; readonly bytes: number } | undefined {
    for (const { registers, viewpoint, ipa } of regimes) {
      if (viewpoint === null || ipa) {
        if (address >= 1n << 48n) continue;
        if (viewpoint === null) return { pa: Number(address), bytes: PAGE - Number(address & 4095n) };
        const { found, walker } = this.translator.walkIpa(registers, viewpoint, Number(address));
        if (found) return { pa: walker.pa, bytes: PAGE - Number(address & 4095n) };
        continue;
      }
      const { found, walker, controls } = this.translator.walk(registers, viewpoint, address);
      if (!found) continue;
      const size = 2 ** Math.min(21, walker.sizeBits, controls.stage2 ? walker.sizeBits2 : 21);
      return { pa: walker.pa, bytes: size - Number(address & BigInt(size - 1)) };
    }
    return undefined;
  }

  /** Host address of the RAM or ROM behind a virtual address, 0 for none. */
  host(regimes: readonly Regime[], address: bigint): { readonly host: number; readonly bytes: number } {
    const found = this.translate(regimes, address), page = found === undefined ? 0 : this.bus.hostPage(found.pa);
    if (found === undefined || page === 0) return { host: 0, bytes: 0 };
    const range = this.bus.ranges.find(({ base, size }) => found.pa >= base && found.pa < base + size)!;
    return { host: page + found.pa % PAGE, bytes: Math.min(found.bytes, range.base + range.size - found.pa) };
  }

  read(world: number, space: AddressSpace, address: bigint, into: Uint8Array): number | Refusal {
    const regimes = this.regimes(world, space);
    let at = 0;
    while (at < into.length) {
      const { host, bytes } = this.host(regimes, BigInt.asUintN(64, address + BigInt(at)));
      if (host === 0) break;
      const count = Math.min(bytes, into.length - at);
      into.set(this.#bytes.subarray(host, host + count), at);
      at += count;
    }
    return at > 0 || into.length === 0 ? at : this.#refuse(regimes, space, address);
  }

  write(world: number, space: AddressSpace, address: bigint, data: Uint8Array): Outcome {
    const regimes = this.regimes(world, space), pieces: { host: number; at: number; count: number }[] = [];
    for (let at = 0; at < data.length;) {
      const where = BigInt.asUintN(64, address + BigInt(at)), { host, bytes } = this.host(regimes, where);
      if (host === 0) return this.#refuse(regimes, space, where);
      const count = Math.min(bytes, data.length - at);
      pieces.push({ host, at, count });
      at += count;
    }
    for (const { host, at, count } of pieces) {
      this.#bytes.set(data.subarray(at, at + count), host);
      this.bus.onCodeWrite(host, count);
    }
    return;
  }

  /** A little-endian value of up to 8 bytes; undefined when it cannot be read. */
  value(world: number, space: AddressSpace, address: bigint, bytes: number): bigint | undefined {
    const data = new Uint8Array(bytes);
    if (this.read(world, space, address, data) !== bytes) return undefined;
    return data.reduceRight((value, byte) => value << 8n | BigInt(byte), 0n);
  }

  #refuse(regimes: readonly Regime[], space: AddressSpace, address: bigint): Refusal {
    const where = `0x${address.toString(16)}`;
    if (regimes.length === 0) return new Refusal(`the context has no ${space} regime now`, ERRNO.EFAULT);
    const mapped = this.translate(regimes, address);
    if (mapped !== undefined) {
      const pa = `0x${mapped.pa.toString(16)}`;
      return new Refusal(`${where} is physical address ${pa}, which is not memory`, ERRNO.EFAULT);
    }
    return new Refusal(`${where} is not mapped by ${regimes.map(({ name }) => name).join(" nor by ")}`, ERRNO.EFAULT);
  }
}
