// The input log: what is written is read, and what is not whole is refused. A run with input at random moments repeats.

import assert from "node:assert/strict";
import { HostError } from "../../src/base/errors.ts";
import { REQUEST } from "../../src/machine/channel.ts";
import { EVENT, type LogEvent, type LogHeader, LogWriter, readLog } from "../../src/machine/input_log.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { record, repeat, replay, type Session } from "./session.ts";

const HEADER: LogHeader = { icount: { shift: 3, sleep: true }, seed: 5, rtcBase: 1e9, machine: { "-smp": "4" } };
const EVENTS: LogEvent[] = [
  { kind: EVENT.CHECKPOINT, retired: 0, skippedNs: 0, payload: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) },
  { kind: EVENT.CONSOLE, retired: 127, skippedNs: 128, payload: Uint8Array.of(0, 65) },
  { kind: EVENT.REQUEST, retired: 127, skippedNs: 2 ** 40, payload: Uint8Array.of(REQUEST.RESET) },
  { kind: EVENT.CONSOLE, retired: 2 ** 45 + 1, skippedNs: 2 ** 40, payload: new Uint8Array(300).fill(66) },
  { kind: EVENT.END, retired: 2 ** 45 + 1, skippedNs: 2 ** 40, payload: Uint8Array.of(1) },
];

function written(events: readonly LogEvent[]): Uint8Array {
  const bytes: number[] = [], writer = new LogWriter((data) => bytes.push(...data), HEADER);
  for (const event of events) writer.write(event);
  return Uint8Array.from(bytes);
}
const refused = (data: Uint8Array, why: RegExp) =>
  assert.throws(() => readLog("x.log", data), (error: unknown) => {
    assert(error instanceof HostError);
    assert.match(error.message, /^cannot replay x\.log: /);
    assert.match(error.message, why);
    return true;
  });

Deno.test("what is written is read", () => {
  assert.deepEqual(readLog("x.log", written(EVENTS)), { header: HEADER, events: EVENTS });
});

Deno.test("a log that was cut off anywhere is refused", () => {
  const whole = written(EVENTS);
  for (let length = 0; length < whole.length; length++) refused(whole.subarray(0, length), /cut off|not an input log/);
  refused(written(EVENTS.slice(0, -1)), /cut off after instruction 35184372088833/);
});

Deno.test("a log with a changed bit anywhere is refused", () => {
  const whole = written(EVENTS);
  for (let at = 0; at < whole.length; at++) {
    const changed = whole.slice();
    changed[at]! ^= 1 << (at % 8);
    refused(changed, /damaged|cut off|not an input log/);
  }
});

Deno.test("something else, and a log with something after its end, are refused", () => {
  refused(new TextEncoder().encode("#!/bin/sh\nexit 0\n"), /is not an input log/);
  refused(Uint8Array.of(...written(EVENTS), 0), /follows its end/);
});

/** A character that is no character: the host resets the machine. */
const RESET = "!";
const TEXT = `hello, how are things? ${RESET}once more after that, R and the guest reset itself`;

/** Types TEXT at moments that no two runs share, then quits or lets the guest power off. */
const moody = (last: "q" | "quit") => {
  let at = 0, boots = 1, after = 0;
  return (session: Session) => {
    if (Math.random() < 0.7 || !session.output.includes(`boot ${boots},`)) return;
    const next = TEXT[at];
    if (next === undefined) {
      if (++after !== 5) return;
      if (last === "q") return session.type("q");
      session.requests |= REQUEST.QUIT;
    } else if (next === RESET) session.requests |= REQUEST.RESET;
    else session.type(next);
    if (next === RESET || next === "R") boots++;
    at++;
  };
};

for (const [cpus, icount, last] of [["1", "2", "q"], ["4", "2", "q"], ["4", "5,sleep=off", "quit"]] as const) {
  Deno.test(`an interactive session repeats: ${cpus} CPUs, -icount ${icount}, until ${last}`, async () => {
    const options = repeat("echo", "-smp", cpus, "-icount", icount);
    const { session, log } = await record(options, moody(last));
    assert.match(session.output, /boot 2, [^]*boot 3, /);
    for (let n = 0; n < 2; n++) assert.deepEqual((await replay(options, log)).result, session.result);
    assert.deepEqual((await replay(options, log, { inline: false })).result, session.result);
    // Whoever looks on may type, too: nobody listens.
    const typing = { host: (s: Session) => s.type("x") };
    assert.deepEqual((await replay(options, log, typing)).result, session.result);
  });
}

Deno.test("two recordings of the same typing differ: the moments count", async () => {
  const options = repeat("echo", "-icount", "2");
  const runs = [await record(options, moody("q")), await record(options, moody("q"))];
  assert.notEqual(runs[0]!.session.output, runs[1]!.session.output);
});

Deno.test("a run that is not the recorded one says where it went another way", async () => {
  const options = repeat("echo", "-smp", "2", "-icount", "2");
  const { log } = await record(options, moody("q"));
  const diverges = (change: (machine: Machine) => void, how: RegExp) => {
    let changed = false;
    const host = ({ machine, output }: Session) => {
      if (changed || !/boot 3, [^]* at/.test(output)) return;
      changed = true;
      change(machine);
    };
    return assert.rejects(replay(options, log, { host }), (error: unknown) => {
      assert(error instanceof HostError);
      assert.match(error.message, /^the replay of test diverged after instruction \d+, where it was last the same: /);
      assert.match(error.message, how);
      return true;
    });
  };
  await diverges(({ vcpus }) => vcpus[1]!.state.x[28]! ^= 1n, /the registers of CPU 1 differ at instruction \d+$/);
  await diverges(({ bus }) => bus.write(0x4700_0000, 4, 1, -1), /memory differs at the end/);
  await diverges(({ scheduler }) => scheduler.skippedNs += 1e9, /was passed over$|differ at instruction \d+$/);
  const other = repeat("echo", "-smp", "3", "-icount", "2");
  await assert.rejects(replay(other, log), /diverged after instruction 0, .*: the registers of CPU \d.* differ/);
});
