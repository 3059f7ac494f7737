// The built-in demo, a hypervisor with two guests, as `deno task run` runs it: what does not depend on timing is what
// QEMU says (tests/guests/README.md), and it ends by itself.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { BOARD, hasQemu, runQemu } from "./machine.ts";

const LIMIT_MS = 120_000;
const IMAGE = new URL("../guests/two_guests/two_guests.elf", import.meta.url).pathname;

/** What is the same in every run, by part. */
function invariant(output: string): Record<string, string[]> {
  const lines = output.replaceAll("\r", "").split("\n"),
    table = lines.findIndex((line) => /exits by reason/.test(line));
  return {
    "vm 0": lines.filter((line) => line.startsWith("[vm 0]")),
    "vm 1": lines.filter((line) => line.startsWith("[vm 1]")),
    start: lines.slice(0, 5),
    table: lines.slice(table).filter((line) => !line.includes("*")),
  };
}

for (const cpu of ["cortex-a57", "cortex-a72", "cortex-a76"]) {
  Deno.test({
    name: `the demo on ${cpu} says what it says under QEMU`,
    ignore: !await hasQemu(),
    fn: async () => {
      const expected = runQemu([...BOARD, "-cpu", cpu, "-kernel", IMAGE], LIMIT_MS);
      const run = new Run(VITRINE, ["-cpu", cpu]);
      assert.equal(await run.end(LIMIT_MS), 0);
      const theirs = invariant(await expected), ours = invariant(run.output);
      for (const [part, lines] of Object.entries(theirs)) {
        assert(lines.length > 4, `QEMU says something in ${part}`);
        assert.deepEqual(ours[part], lines);
      }
    },
  });
}

Deno.test("the demo shows each kind of exit", async () => {
  const run = new Run(VITRINE, []);
  assert.equal(await run.end(LIMIT_MS), 0);
  for (
    const exit of [
      /exit HVC #1 \(puts\) at EL1/,
      /exit data abort \(stage 2, IPA 0xb000000: tally device\)/,
      /emulated: load 4 bytes into w1 = 0x74616c79/,
      /injected an External abort/,
      /exit IRQ 26 \(hypervisor timer: end of the time slice\)/,
      /forwarded as virtual interrupt 27/,
      /exit SMC #0, x0=0x84000008/,
      /exit MSR ACTLR_EL1/,
      /exit WFI at EL1/,
      /exit floating point at EL0/,
    ]
  ) assert.match(run.output, exit);
  assert.match(run.output.trimEnd(), /both guests have finished: power off$/);
});

Deno.test("the demo's first line comes while it runs, not at its end", async () => {
  const run = new Run(VITRINE, []);
  const firstMs = await run.until("two_guests: one hypervisor", LIMIT_MS);
  await run.end(LIMIT_MS);
  // The guests alone take several time slices, so the end is some tens of milliseconds away.
  assert(firstMs < run.elapsedMs);
});
