// What a machine does as a whole: transitions, -no-reboot and -no-shutdown, resets without end, a clock that stands still.

import assert from "node:assert/strict";
import { HostClock } from "../../src/base/clock.ts";
import { AssertionFailure } from "../../src/base/errors.ts";
import { REQUEST } from "../../src/machine/channel.ts";
import { Lifecycle, type RunState } from "../../src/machine/lifecycle.ts";
import { repeat, Session } from "../replay/session.ts";

/** How to get to each state. */
const PATHS: Readonly<Record<RunState, readonly RunState[]>> = {
  built: [],
  running: ["running"],
  stopped: ["running", "stopped"],
  resetting: ["running", "resetting"],
  off: ["running", "off"],
  ended: ["running", "ended"],
};
const ALLOWED: Readonly<Record<RunState, readonly RunState[]>> = {
  built: ["running", "stopped", "ended"],
  running: ["stopped", "resetting", "off", "ended"],
  stopped: ["running", "resetting", "ended"],
  resetting: ["running", "stopped"],
  off: ["resetting", "ended"],
  ended: [],
};

Deno.test("every transition is either told or our own mistake", () => {
  const states = Object.keys(PATHS) as RunState[];
  for (const from of states) {
    for (const to of states) {
      const told: string[] = [], lifecycle = new Lifecycle((a, b) => told.push(`${a} to ${b}`));
      for (const state of PATHS[from]) lifecycle.to(state);
      if (ALLOWED[from].includes(to)) {
        lifecycle.to(to);
        assert.equal(told.at(-1), `${from} to ${to}`);
      } else assert.throws(() => lifecycle.to(to), AssertionFailure, `${from} to ${to}`);
    }
  }
});

Deno.test("a machine that is off does not run", async () => {
  const { machine } = (await Session.from(repeat("turns"))).run();
  assert.equal(machine.power, "off");
  assert.throws(() => machine.runSlice(), AssertionFailure);
  assert.throws(() => machine.power = "reset", AssertionFailure);
});

Deno.test("a clock that is stopped stands still", () => {
  let nowMs = 5;
  const clock = new HostClock(() => nowMs);
  nowMs += 2;
  assert.equal(clock.ticks(), 125_000);
  clock.stop();
  nowMs += 1000;
  clock.stop();
  assert.equal(clock.ticks(), 125_000);
  clock.start();
  assert.equal(clock.ticks(), 125_000);
  nowMs += 1;
  clock.start();
  assert.equal(clock.ticks(), 187_500);
  nowMs -= 3;
  assert.equal(clock.ticks(), 187_500);
});

for (const icount of [[], ["-icount", "2"]]) {
  Deno.test(`a stopped machine stands still, ${icount.length > 0 ? "counted" : "on host time"}`, async () => {
    const session = await Session.from(repeat("echo", ...icount)), { machine, runner } = session;
    session.run(() => session.output.includes("boot 1"));
    session.requests = REQUEST.STOP;
    session.run(() => runner.lifecycle.state === "stopped");
    const ticks = machine.around.clock.ticks(), before = session.result;
    session.type("a");
    for (let n = 0; n < 10; n++) runner.step();
    assert(session.nowMs > 10_000);
    assert.equal(machine.around.clock.ticks(), ticks);
    assert.deepEqual(session.result, before);
    session.requests = REQUEST.CONTINUE;
    session.run(() => session.output.includes("a at"));
    assert(machine.around.clock.ticks() - ticks < 62_500_000);
    session.type("q");
    session.run();
  });
}

Deno.test("a reset from outside starts the guest again, and a stopped machine stays stopped", async () => {
  const session = await Session.from(repeat("echo", "-smp", "2")), { lifecycle } = session.runner;
  session.run(() => session.output.includes("boot 1"));
  session.requests = REQUEST.RESET;
  session.run(() => session.output.includes("boot 2"));
  session.requests = REQUEST.STOP | REQUEST.RESET;
  session.run(() => lifecycle.state === "stopped");
  assert.equal(session.machine.vcpus[0]!.state.pc, BigInt(session.machine.plan.entry));
  session.requests = REQUEST.RESET;
  session.runner.step();
  assert.equal(lifecycle.state, "stopped");
  session.requests = REQUEST.CONTINUE;
  session.run(() => session.output.includes("boot 3"));
  session.requests = REQUEST.QUIT;
  session.run();
});

Deno.test("-no-shutdown keeps a machine that is off until it is reset and continued", async () => {
  const session = await Session.from(repeat("echo", "-no-shutdown")), { lifecycle } = session.runner;
  session.run(() => session.output.includes("boot 1"));
  session.type("q");
  session.run(() => lifecycle.state === "off");
  session.requests = REQUEST.CONTINUE;
  session.runner.step();
  assert.equal(lifecycle.state, "off");
  session.requests = REQUEST.RESET;
  session.runner.step();
  assert.equal(lifecycle.state, "stopped");
  session.requests = REQUEST.CONTINUE;
  session.run(() => session.output.includes("boot 2"));
  session.requests = REQUEST.QUIT;
  session.run();
});

Deno.test("-no-reboot ends the run at a reset, with -no-shutdown it stops there", async () => {
  const ended = (await Session.from(repeat("resets", "-no-reboot"))).run();
  assert.equal(ended.output.match(/boot/g)!.length, 1);
  const kept = await Session.from(repeat("resets", "-no-reboot", "-no-shutdown"));
  kept.run(() => kept.runner.lifecycle.state === "off");
  assert.equal(kept.output.match(/boot/g)!.length, 1);
});

Deno.test("a hundred resets: each start is like the others, and nothing grows", async () => {
  const session = await Session.from(repeat("resets", "-smp", "4", "-icount", "2"));
  const { machine } = session;
  const sizes = () => [
    machine.code.pages,
    machine.interpreter.shapes.size,
    ...machine.mmus.map((mmu) => mmu.contexts.count),
    machine.bus.regions.length,
  ];
  /** The largest sizes in the first boots, and in the last ones. */
  const largest: [number[], number[]] = [[], []];
  session.run(() => {
    const boots = session.output.match(/boot \d+\r/g)?.length ?? 0, most = largest[boots <= 50 ? 0 : 1];
    sizes().forEach((size, n) => most[n] = Math.max(size, most[n] ?? 0));
    return false;
  });
  assert.equal(session.output.match(/boot \d+\r/g)!.length, 100);
  assert.deepEqual(largest[1], largest[0]);
  assert(largest[0].slice(2, 6).every((contexts) => contexts > 0), "all CPUs ran");
});
