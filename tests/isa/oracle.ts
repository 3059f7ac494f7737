// The oracle for single instructions: runs batches of register states through tests/guests/vector_runner under qemu-aarch64
// (Debian's qemu-user) and returns the states afterwards. The layouts below are those of vector_runner.c.

import { struct, type View } from "../../src/base/struct.ts";
import { correctOutcome } from "./qemu_errata.ts";

export const DATA_BASE = 0x1000_0000n, CODE_BASE = 0x2000_0000n, CODE_OFFSET = 0x800;
export const PAGE_BYTES = 4096;
/** Address of the first word of a case. */
export const CASE_PC = CODE_BASE + BigInt(CODE_OFFSET);
/** Fills the code page around the words of a case: BRK #1. */
export const BRK = 0xd4200020;
export const SIGNAL = { REFUSED: 0, ILL: 4, TRAP: 5, BUS: 7, SEGV: 11 } as const;

export const TEST_CASE = struct("test case", {
  /** Instruction words, BRK #1 where unused. */
  words: "u32[8]",
  /** Flags in bits 31 to 28. */
  nzcv: "u64",
  fpcr: "u32",
  fpsr: "u32",
  /** Up to 64 bytes of the data page that differ from the image in this case. */
  patchOffset: "u32",
  patchLength: "u32",
  unused: "u64",
  patch: "u8[64]",
  /** X0 to X30, SP. */
  x: "u64[32]",
  v: "u64[64]",
});
export type TestCase = View<typeof TEST_CASE.spec>;

const OUTCOME = struct("outcome", {
  /** How the case ended: the BRK behind the words is SIGNAL.TRAP at CASE_PC + 4 * words. */
  signal: "u32",
  code: "u32",
  /** The faulting address, as si_addr has it. */
  address: "u64",
  pc: "u64",
  pstate: "u64",
  fpcr: "u32",
  fpsr: "u32",
  /** The part of the data page that changed: see `changed`. */
  diffOffset: "u32",
  diffLength: "u32",
  unused: "u64[10]",
  x: "u64[32]",
  v: "u64[64]",
});
export type Outcome = View<typeof OUTCOME.spec>;
if (TEST_CASE.size !== 896 || OUTCOME.size !== 896) throw new Error("vector_runner's records are 896 bytes");

/** The bytes of the data page from `diffOffset` on that a case changed. */
export const changed = (o: Outcome): Uint8Array =>
  new Uint8Array(o.bytes.buffer, o.bytes.byteOffset + OUTCOME.size, o.diffLength);

/** Cases to run together, in one growing buffer. */
export class Batch {
  count = 0;
  #buffer = new ArrayBuffer(64 * TEST_CASE.size);

  /** A new case, all zero except for `words`. */
  add(...words: number[]): TestCase {
    if ((this.count + 1) * TEST_CASE.size > this.#buffer.byteLength) this.#buffer = this.#grown();
    const test = this.at(this.count++);
    test.words.fill(BRK);
    test.words.set(words);
    return test;
  }

  /** Case number `i`. Views taken before an `add` may be stale after it. */
  at(i: number): TestCase {
    return TEST_CASE.at(this.#buffer, i * TEST_CASE.size);
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer, 0, this.count * TEST_CASE.size);
  }

  #grown(): ArrayBuffer {
    const buffer = new ArrayBuffer(this.#buffer.byteLength * 2);
    new Uint8Array(buffer).set(new Uint8Array(this.#buffer));
    return buffer;
  }
}

export interface OracleOptions {
  /** QEMU's name of the core. Default `cortex-a76`. */
  cpu?: string;
  /** What the data page holds before each case. Default zero. */
  image?: Uint8Array<ArrayBuffer>;
  /** Kill the oracle after this long. Default 120 s. */
  timeoutMs?: number;
}

const RUNNER = new URL("../guests/vector_runner/vector_runner", import.meta.url).pathname;

/** Whether qemu-aarch64 can be run here. */
export function isOracleAvailable(): boolean {
  try {
    return new Deno.Command("qemu-aarch64", { args: ["--version"], stdout: "null", stderr: "null" }).outputSync()
      .success;
  } catch {
    return false;
  }
}

/** Runs all cases of `batch` in order. Throws when the oracle itself fails. */
export async function runOracle(batch: Batch, options: OracleOptions = {}): Promise<Outcome[]> {
  const { cpu = "cortex-a76", image = new Uint8Array(PAGE_BYTES), timeoutMs = 120_000 } = options;
  const child = new Deno.Command("qemu-aarch64", {
    args: ["-cpu", cpu, RUNNER],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  // A child that dies early breaks the pipe: its status says more than that error.
  const feed = async () => {
    const writer = child.stdin.getWriter();
    try {
      await writer.write(image);
      await writer.write(batch.bytes);
      await writer.close();
    } catch { /* reported below */ }
  };
  const [output, status] = await Promise.all([new Response(child.stdout).arrayBuffer(), child.status, feed()]);
  clearTimeout(timer);
  const outcomes: Outcome[] = [];
  for (let at = 0; at + OUTCOME.size <= output.byteLength;) {
    const outcome = OUTCOME.at(output, at);
    outcomes.push(outcome);
    at += OUTCOME.size + outcome.diffLength;
  }
  if (!status.success || outcomes.length !== batch.count) {
    const words = outcomes.length < batch.count ? [...batch.at(outcomes.length).words].map((w) => w.toString(16)) : [];
    throw new Error(
      `Cannot run ${batch.count} cases under qemu-aarch64: it ended with ${status.signal ?? status.code} after ` +
        `${outcomes.length} (buffered) outcomes; next case: ${words.join(" ")}`,
    );
  }
  outcomes.forEach((outcome, i) => {
    const { words } = batch.at(i);
    if (words[1] === BRK && outcome.signal === SIGNAL.TRAP) correctOutcome(outcome, words[0]!);
  });
  return outcomes;
}
