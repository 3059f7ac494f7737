// Time as the host's: monotonic and right; a machine that waits sleeps. How long events from outside wait.

import assert from "node:assert/strict";
import { hostClock, sharedNowMs } from "../../src/base/clock.ts";
import { repeat, Session } from "../replay/session.ts";
import { TestMachine } from "../system/machine.ts";

Deno.test("the guest's counter goes as the host's clock and never back", () => {
  const clock = hostClock(), start = performance.now(), first = clock.ticks();
  // mrs x2, cntvct_el0; cmp x2, x1; cinc x3, x3, lo; mov x1, x2; b -4
  const test = TestMachine.withCode([0xd53be042, 0xeb01005f, 0x9a832463, 0xaa0203e1, 0x17fffffc]);
  const { x } = test.machine.vcpus[0]!.state, before = performance.now();
  test.machine.runSlice();
  const guestFirst = x[1]!, hostFirst = performance.now();
  test.runUntil(() => performance.now() > hostFirst + 400, 10_000);
  const guestMs = Number(x[1]! - guestFirst) / 62_500, hostMs = performance.now() - hostFirst;
  assert.equal(x[3], 0n);
  assert(Math.abs(guestMs - hostMs) < hostMs / 100, `${guestMs} ms in ${hostMs} ms`);
  const ticks = clock.ticks() - first, ms = performance.now() - start;
  assert(Math.abs(ticks / 62_500 - ms) < 1 && before >= start);
});

Deno.test("a machine whose CPUs wait sleeps until the next deadline, not before", async () => {
  const session = await Session.from(repeat("idle"));
  let steps = 0;
  session.run(() => session.output.includes("asleep"));
  session.run(() => ++steps > 50);
  // The last second of sleep is the longest there is, since nothing will ever happen.
  assert(session.sleptMs > 40_000, `slept ${session.sleptMs} ms in ${steps} steps`);
});

Deno.test("the time from an event outside to the guest's vector is measured", async () => {
  const session = await Session.from(repeat("echo")), { scheduler } = session.machine;
  session.run(() => session.output.includes("boot 1"));
  for (let n = 0; n < 20; n++) {
    scheduler.hostEvent(sharedNowMs(), sharedNowMs);
    session.type("x");
    session.run(() => session.output.split("x at").length > n + 1);
  }
  session.runner.step();
  const { taken, totalNs, maxNs, masked, maskedTotalNs, maskedMaxNs } = scheduler.latency;
  assert.equal(taken + masked, 20);
  assert(totalNs >= maxNs && maskedTotalNs >= maskedMaxNs);
  assert(Math.max(maxNs, maskedMaxNs) > 0 && Math.max(maxNs, maskedMaxNs) < 1e9);
});
