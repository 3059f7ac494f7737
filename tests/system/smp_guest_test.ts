// Several CPUs on bare metal: exclusives, locks, atomics, a store between an exclusive pair, SGIs and PSCI, with the same
// output as on QEMU (tests/guests/smp).

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { hasQemu, runQemu } from "./machine.ts";

const LIMIT_MS = 120_000;
const GUEST = new URL("../guests/smp/smp.elf", import.meta.url).pathname;
const qemu = await hasQemu();

for (const cpu of ["cortex-a57", "cortex-a76"]) {
  Deno.test({
    name: `four CPUs share memory and interrupts as on QEMU: ${cpu}`,
    ignore: !qemu,
    fn: async () => {
      const options = [
        ...["-M", "virt,gic-version=3,virtualization=on", "-cpu", cpu, "-smp", "4"],
        ...["-nic", "none", "-nographic", "-kernel", GUEST],
      ];
      const expected = await runQemu(options, LIMIT_MS), run = new Run(VITRINE, options);
      assert.equal(await run.end(LIMIT_MS), 0);
      assert.match(run.output, /^== end/m);
      assert.equal(run.output.replaceAll("\r", ""), expected.replaceAll("\r", ""));
    },
  });
}
