// The bare-metal programs of tests/guests on this machine and under QEMU: equal output, line by line. Each program runs
// inside the test, one also through the command.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { hasQemu, runQemu, TestMachine } from "./machine.ts";

interface Guest {
  readonly name: string;
  readonly file: string;
  readonly cpus: readonly string[];
  /** "output": QEMU says the same. "two_guests": the demo, see demo_test.ts. */
  readonly compare: "output" | "two_guests";
}

/** A line of QEMU 7.2's output that is not what the manual says, and what it should have been. */
interface QemuError {
  readonly program: string;
  readonly line: RegExp;
  readonly manual: (line: string) => string;
  readonly why: string;
}

const QEMU_ERRORS: readonly QemuError[] = [
  {
    program: "exceptions",
    line: /SPSR=([1-9a-f])[0-9a-f]{7} PSTATE=/,
    manual: (line) =>
      line.replace(
        /SPSR=(.)(.{7}) PSTATE=(...)$/,
        (_, nzcv, rest, low) => `SPSR=${nzcv}${rest} PSTATE=${nzcv}0000${low}`,
      ),
    why: "AArch64.TakeException() leaves PSTATE.{N,Z,C,V} alone; QEMU clears them",
  },
  {
    program: "exceptions",
    line: /DAIF(Set|Clr) #.* ESR=620[0-9a-f]{5} /,
    manual: (line) =>
      line.replace(
        /ESR=62([0-9a-f]{6})/,
        (_, iss) => `ESR=62${swapFields(parseInt(iss, 16)).toString(16).padStart(6, "0")}`,
      ),
    why: "the syndrome of a trapped MSR (immediate) has Op2 in bits 19:17 and Op1 in 16:14; QEMU swaps them",
  },
];

/** Exchanges Op1 and Op2 in the syndrome of a trapped MSR (immediate) when Op1 is not that of DAIF. */
function swapFields(iss: number): number {
  const DAIF_OP1 = 3, first = (iss >>> 14) & 7, second = (iss >>> 17) & 7;
  return first === DAIF_OP1 ? iss : (iss & ~(0x3f << 14)) | (second << 14) | (first << 17);
}

function asInTheManual(program: string, line: string): string {
  const errors = QEMU_ERRORS.filter((error) => error.program === program && error.line.test(line));
  return errors.reduce((text, { manual }) => manual(text), line);
}

const GUESTS = new URL("../guests/", import.meta.url);
/** The self-checking ones compare with the manual, since QEMU does not do what they try. */
const { machine, programs, selfChecking }: {
  machine: string[];
  programs: Guest[];
  selfChecking: Omit<Guest, "compare">[];
} = JSON.parse(
  await Deno.readTextFile(new URL("guests.json", GUESTS)),
);
const LIMIT_MS = 120_000;
const qemu = await hasQemu();

const optionsOf = (guest: Pick<Guest, "file">, cpu: string) => [
  ...machine,
  ...["-cpu", cpu, "-kernel", new URL(guest.file, GUESTS).pathname],
];
const linesOf = (output: string) => output.replaceAll("\r", "").split("\n");

/** Only the lines that differ, so that a failure is short. */
function assertSameLines(program: string, ours: readonly string[], theirs: readonly string[]): void {
  const expected = theirs.map((line) => asInTheManual(program, line));
  const wrong = expected.map((line, n) => ({ number: n + 1, line })).filter(({ line }, n) => ours[n] !== line);
  assert.deepEqual(
    wrong.map(({ number }) => `${number}: ${ours[number - 1]}`),
    wrong.map((w) => `${w.number}: ${w.line}`),
  );
  assert.equal(ours.length, theirs.length);
}

const bare = programs.filter(({ compare }) => compare === "output");
for (const guest of bare) {
  for (const cpu of guest.cpus) {
    Deno.test({
      name: `${guest.name} on ${cpu} says what it says under QEMU`,
      ignore: !qemu,
      fn: async () => {
        const expected = runQemu(optionsOf(guest, cpu), LIMIT_MS);
        const ours = (await TestMachine.from(optionsOf(guest, cpu))).runToEnd(LIMIT_MS);
        const theirs = linesOf(await expected);
        assert(theirs.length > 1, "QEMU says something");
        assertSameLines(guest.name, linesOf(ours), theirs);
      },
    });
  }
}

for (const guest of selfChecking) {
  for (const cpu of guest.cpus) {
    Deno.test(`${guest.name} on ${cpu} finds what the manual says`, async () => {
      const lines = linesOf((await TestMachine.from(optionsOf(guest, cpu))).runToEnd(LIMIT_MS));
      assert.deepEqual(lines.filter((line) => line.includes("WRONG")), []);
      assert(lines.filter((line) => line.includes("ok")).length > 10);
    });
  }
}

Deno.test({
  name: "the command runs a program as QEMU does",
  ignore: !qemu,
  fn: async () => {
    const guest = bare.find(({ name }) => name === "stage2")!, options = optionsOf(guest, "cortex-a57");
    const run = new Run(VITRINE, options);
    assert.equal(await run.end(LIMIT_MS), 0);
    assertSameLines(guest.name, linesOf(run.output), linesOf(await runQemu(options, LIMIT_MS)));
  },
});
