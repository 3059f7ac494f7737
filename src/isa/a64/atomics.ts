// Exclusives, load-acquire and store-release, and the atomics of FEAT_LSE. Accesses are single-copy atomic and aligned.
// Acquire and release ask for nothing here: Wasm's atomic operations are sequentially consistent, and vCPUs of one Worker
// run in turn.
//
// The exclusive monitor remembers the address, the size and the value that was loaded; a store-exclusive succeeds only
// while it is set, and only by a compare-and-exchange with that value, so a write by another observer makes it fail. It is
// cleared by every store-exclusive, CLREX, exception return and change of the running vCPU.

import { type Definition, insn, xName } from "../define.ts";
import { type Builder, i32, i64, Int } from "../ir.ts";
import { lane64 } from "./loads_stores.ts";

const ALIGNED = { aligned: true } as const;
const suffix = (size: number) => "bh"[size] ?? "";
const acquire = (f: { A: number; R: number }) => (f.A ? "a" : "") + (f.R ? "l" : "");

/** LDADD and its kin: opc 0–7 without o3. */
const OPERATIONS = ["add", "clr", "eor", "set", "smax", "smin", "umax", "umin"] as const;

function setMonitor(e: Builder, address: Int, bytes: number, low: Int, high: Int = i64(0)) {
  e.setState("exclusiveSize", i32(bytes));
  e.setState("exclusiveAddress", address);
  e.setState("exclusiveValue", low);
  e.setState("exclusiveValueHigh", high);
}
/** Status of a store-exclusive: 0 when `store` (given the host address) says so. */
function storeExclusive(e: Builder, address: Int, bytes: number, store: (host: Int) => Int): Int {
  const monitored = e.state("exclusiveSize").eq(bytes).and(e.state("exclusiveAddress").eq(address));
  // A misaligned address faults whatever the monitor says.
  const misaligned = address.and(bytes - 1).ne(0);
  const status = e.choose(monitored.or(misaligned), () => store(e.rmwAddress(address, bytes)), () => i32(1));
  e.setState("exclusiveSize", i32(0));
  return status;
}

export const ATOMICS: readonly Definition[] = [
  insn({
    name: "LDXR, LDAXR",
    bits: "size:2 001000 0 1 0 _Rs:5 _o0:1 _Rt2:5 Rn|SP:5 Rt:5",
    asm: (f) => `ld${f.o0 ? "a" : ""}xr${suffix(f.size)} ${xName(f.Rt, f.size === 3)}, [${xName(f.Rn, 1, true)}]`,
    exec(e, { size, Rn, Rt }) {
      const address = e.base(Rn), value = e.load(address, 1 << size, ALIGNED);
      setMonitor(e, address, 1 << size, value);
      e.set(Rt, value);
    },
  }),
  insn({
    name: "STXR, STLXR",
    bits: "size:2 001000 0 0 0 Rs:5 _o0:1 _Rt2:5 Rn|SP:5 Rt:5",
    asm: (f) =>
      `st${f.o0 ? "l" : ""}xr${suffix(f.size)} ${xName(f.Rs, 0)}, ${xName(f.Rt, f.size === 3)}, [${
        xName(f.Rn, 1, true)
      }]`,
    exec(e, { size, Rs, Rn, Rt }) {
      const bytes = 1 << size, address = e.base(Rn), expected = e.state("exclusiveValue");
      e.set(
        Rs,
        storeExclusive(
          e,
          address,
          bytes,
          (host) => e.atomic("cmpxchg", host, bytes, expected, e.get(Rt, 1)).ne(expected),
        ),
      );
    },
  }),
  insn({
    name: "LDXP, LDAXP",
    bits: "1 sz:1 001000 0 1 1 _Rs:5 _o0:1 Rt2:5 Rn|SP:5 Rt:5",
    asm: (f) => `ld${f.o0 ? "a" : ""}xp ${xName(f.Rt, f.sz)}, ${xName(f.Rt2, f.sz)}, [${xName(f.Rn, 1, true)}]`,
    exec(e, { sz, Rt2, Rn, Rt }) {
      const address = e.base(Rn);
      if (sz) {
        const both = e.load128(address, ALIGNED);
        setMonitor(e, address, 16, lane64(both, 0), lane64(both, 1));
        e.set(Rt, lane64(both, 0));
        e.set(Rt2, lane64(both, 1));
      } else {
        const both = e.load(address, 8, ALIGNED);
        setMonitor(e, address, 8, both);
        e.set(Rt, both.zext(32));
        e.set(Rt2, both.shrU(32));
      }
    },
  }),
  insn({
    name: "STXP, STLXP",
    bits: "1 sz:1 001000 0 0 1 Rs:5 _o0:1 Rt2:5 Rn|SP:5 Rt:5",
    asm: (f) =>
      `st${f.o0 ? "l" : ""}xp ${xName(f.Rs, 0)}, ${xName(f.Rt, f.sz)}, ${xName(f.Rt2, f.sz)}, [${
        xName(f.Rn, 1, true)
      }]`,
    exec(e, { sz, Rs, Rt2, Rn, Rt }) {
      const address = e.base(Rn), low = e.state("exclusiveValue"), high = e.state("exclusiveValueHigh");
      e.set(
        Rs,
        sz
          ? storeExclusive(
            e,
            address,
            16,
            (host) => compareAndSwapPair(e, host, 8, [low, high], [e.get(Rt, 1), e.get(Rt2, 1)]).failed,
          )
          : storeExclusive(
            e,
            address,
            8,
            (host) => e.atomic("cmpxchg", host, 8, low, e.get(Rt, 1).zext(32).or(e.get(Rt2, 1).shl(32))).ne(low),
          ),
      );
    },
  }),
  insn({
    name: "LDAR",
    bits: "size:2 001000 1 1 0 _Rs:5 1 _Rt2:5 Rn|SP:5 Rt:5",
    asm: (f) => `ldar${suffix(f.size)} ${xName(f.Rt, f.size === 3)}, [${xName(f.Rn, 1, true)}]`,
    exec: (e, { size, Rn, Rt }) => e.set(Rt, e.load(e.base(Rn), 1 << size, ALIGNED)),
  }),
  insn({
    name: "STLR",
    bits: "size:2 001000 1 0 0 _Rs:5 1 _Rt2:5 Rn|SP:5 Rt:5",
    asm: (f) => `stlr${suffix(f.size)} ${xName(f.Rt, f.size === 3)}, [${xName(f.Rn, 1, true)}]`,
    exec: (e, { size, Rn, Rt }) => e.store(e.base(Rn), 1 << size, e.get(Rt, 1), ALIGNED),
  }),
  insn({
    name: "LDAPR",
    bits: "size:2 111 0 00 10 1 _Rs:5 1 100 00 Rn|SP:5 Rt:5",
    asm: (f) => `ldapr${suffix(f.size)} ${xName(f.Rt, f.size === 3)}, [${xName(f.Rn, 1, true)}]`,
    feature: "FEAT_LRCPC",
    exec: (e, { size, Rn, Rt }) => e.set(Rt, e.load(e.base(Rn), 1 << size, ALIGNED)),
  }),
  insn({
    name: "CAS",
    bits: "size:2 001000 1 _L:1 1 Rs:5 _o0:1 11111 Rn|SP:5 Rt:5",
    asm: (f) =>
      `cas${f.L ? "a" : ""}${f.o0 ? "l" : ""}${suffix(f.size)} ${xName(f.Rs, f.size === 3)}, ${
        xName(f.Rt, f.size === 3)
      }, [${xName(f.Rn, 1, true)}]`,
    feature: "FEAT_LSE",
    exec(e, { size, Rs, Rn, Rt }) {
      const bytes = 1 << size, host = e.rmwAddress(e.base(Rn), bytes);
      e.set(Rs, e.atomic("cmpxchg", host, bytes, e.get(Rs, 1).zext(8 * bytes), e.get(Rt, 1)));
    },
  }),
  casp("CASP", (Rs) => Rs !== 30),
  // Here the second register of the pair is the zero register, which is not written.
  casp("CASP (X30, XZR)", (Rs) => Rs === 30),
  insn({
    name: "LDADD, LDCLR, LDEOR, LDSET, LDSMAX, LDSMIN, LDUMAX, LDUMIN",
    bits: "size:2 111 0 00 _A:1 _R:1 1 Rs:5 0 opc:3 00 Rn|SP:5 Rt:5",
    asm: (f) =>
      `ld${OPERATIONS[f.opc]}${acquire(f)}${suffix(f.size)} ${xName(f.Rs, f.size === 3)}, ${
        xName(f.Rt, f.size === 3)
      }, [${xName(f.Rn, 1, true)}]`,
    feature: "FEAT_LSE",
    exec(e, { size, opc, Rs, Rn, Rt }) {
      const bytes = 1 << size, host = e.rmwAddress(e.base(Rn), bytes), operand = e.get(Rs, 1);
      switch (opc) {
        case 0:
          return e.set(Rt, e.atomic("add", host, bytes, operand));
        case 1:
          return e.set(Rt, e.atomic("and", host, bytes, operand.not()));
        case 2:
          return e.set(Rt, e.atomic("xor", host, bytes, operand));
        case 3:
          return e.set(Rt, e.atomic("or", host, bytes, operand));
      }
      // Wasm has no atomic minimum and maximum. Exact while vCPUs run in turn; with a Worker per vCPU it becomes a
      // compare-and-exchange loop.
      const old = e.hostLoad(host, bytes), widen = (x: Int) => opc < 6 ? x.sext(8 * bytes) : x.zext(8 * bytes);
      const a = e.let(widen(old)), b = e.let(widen(operand)), max = (opc & 1) === 0;
      const takeOld = opc < 6 ? (max ? a.gtS(b) : a.ltS(b)) : (max ? a.gtU(b) : a.ltU(b));
      e.hostStore(host, bytes, a.select(takeOld, b));
      e.set(Rt, old);
    },
  }),
  insn({
    name: "SWP",
    bits: "size:2 111 0 00 _A:1 _R:1 1 Rs:5 1 000 00 Rn|SP:5 Rt:5",
    asm: (f) =>
      `swp${acquire(f)}${suffix(f.size)} ${xName(f.Rs, f.size === 3)}, ${xName(f.Rt, f.size === 3)}, [${
        xName(f.Rn, 1, true)
      }]`,
    feature: "FEAT_LSE",
    exec(e, { size, Rs, Rn, Rt }) {
      const bytes = 1 << size, host = e.rmwAddress(e.base(Rn), bytes);
      e.set(Rt, e.atomic("xchg", host, bytes, e.get(Rs, 1)));
    },
  }),
];

/** Compares and swaps two neighbouring elements. Exact while vCPUs run in turn. `failed` is an i32. */
function compareAndSwapPair(
  e: Builder,
  host: Int,
  bytes: number,
  expected: [Int, Int],
  desired: [Int, Int],
): { old: [Int, Int]; failed: Int } {
  const second = host.add(bytes), old: [Int, Int] = [e.hostLoad(host, bytes), e.hostLoad(second, bytes)];
  const equal = e.let(old[0].eq(expected[0]).and(old[1].eq(expected[1])));
  e.when(equal, () => {
    e.hostStore(host, bytes, desired[0]);
    e.hostStore(second, bytes, desired[1]);
  });
  return { old, failed: equal.eqz() };
}

function casp(name: string, when: (Rs: number) => boolean): Definition {
  return insn({
    name,
    bits: "0 sz:1 001000 0 _L:1 1 Rs:5 _o0:1 11111 Rn|SP:5 Rt:5",
    asm: (f) =>
      `casp ${xName(f.Rs, f.sz)}, ${xName(f.Rs + 1, f.sz)}, ${xName(f.Rt, f.sz)}, ${xName(f.Rt + 1, f.sz)}, [${
        xName(f.Rn, 1, true)
      }]`,
    when: (f) => (f.Rs & 1) === 0 && (f.Rt & 1) === 0 && when(f.Rs),
    feature: "FEAT_LSE",
    exec(e, { sz, Rs, Rn, Rt }) {
      const bytes = sz ? 8 : 4, host = e.rmwAddress(e.base(Rn), 2 * bytes), bits = 8 * bytes;
      const expected: [Int, Int] = [e.get(Rs, 1).zext(bits), e.get(e.next(Rs), 1).zext(bits)];
      const { old } = compareAndSwapPair(e, host, bytes, expected, [e.get(Rt, 1), e.get(e.next(Rt), 1)]);
      e.set(Rs, old[0]);
      if (!when(30)) e.set(e.next(Rs), old[1]);
    },
  });
}
