// The options about time: what they mean, alone and together, and what is refused.

import assert from "node:assert/strict";
import { HostError, UsageError } from "../../src/base/errors.ts";
import { seededRandom } from "../../src/base/random.ts";
import type { MachineConfig } from "../../src/machine/config.ts";
import { setUpLog } from "../../src/machine/log_setup.ts";
import { parseCommandLine } from "../../src/machine/options.ts";
import { startOfRtc } from "../../src/machine/options/time.ts";

function config(...args: string[]): MachineConfig {
  const command = parseCommandLine(args);
  assert(command.kind === "run");
  return command.config;
}
const time = (...args: string[]) => {
  const { icount, rtc, seed, record, replay } = config(...args);
  return { icount, rtc, seed, record, replay };
};
const HOST = { icount: null, rtc: { base: "utc", clock: "host" }, seed: null, record: null, replay: null };
const COUNTED = { ...HOST, icount: { shift: 2, sleep: true }, rtc: { base: "utc", clock: "vm" }, seed: 0 };

Deno.test("time is the host's unless it is counted", () => {
  assert.deepEqual(time(), HOST);
  assert.deepEqual(time("-icount", "auto"), COUNTED);
  assert.deepEqual(time("-icount", "shift=7,sleep=off,align=off", "-seed", "9"), {
    ...COUNTED,
    icount: { shift: 7, sleep: false },
    seed: 9,
  });
  assert.deepEqual(time("-rtc", "base=2006-06-17T16:01:21,clock=vm").rtc, { base: 1150560081, clock: "vm" });
  assert.deepEqual(time("-rtc", "base=2006-06-17", "-icount", "0").rtc, { base: 1150502400, clock: "vm" });
  assert.deepEqual(time("-rtc", "base=localtime", "-icount", "0", "-rtc", "clock=host").rtc, {
    base: "localtime",
    clock: "host",
  });
});

Deno.test("logs are counted, in QEMU's spelling too", () => {
  assert.deepEqual(time("-record", "x"), { ...COUNTED, record: "x" });
  assert.deepEqual(time("-icount", "shift=auto,rr=replay,rrfile=x"), { ...COUNTED, replay: "x" });
});

Deno.test("what makes no sense is refused", () => {
  for (
    const [args, why] of [
      ["-icount 11", /option -icount: "11" is not from 0 to 10/],
      ["-icount 2,align=on", /align=on is not implemented/],
      ["-icount 2,rr=record", /rr and rrfile need each other/],
      ["-record a -replay b", /exclude each other/],
      ["-record a -rtc clock=host", /option -record needs -rtc clock=vm/],
      ["-rtc base=tomorrow", /is not utc, localtime/],
      ["-rtc base=2023-02-30", /is not utc, localtime/],
      ["-rtc base=1969-12-31", /does not fit/],
      ["-seed -1", /is not a number/],
    ] as const
  ) {
    assert.throws(() => config(...args.split(" ")), (error: unknown) => {
      assert(error instanceof UsageError, args);
      assert.match(error.message, why);
      return true;
    });
  }
});

Deno.test("the real-time clock starts where it is told", () => {
  const now = Date.UTC(2024, 0, 15, 12) / 1000, offset = new Date(now * 1000).getTimezoneOffset() * 60;
  assert.deepEqual([startOfRtc("utc", now), startOfRtc("localtime", now), startOfRtc(5, now)], [now, now - offset, 5]);
});

Deno.test("a recording needs disks that it leaves alone, and a fixed start", async () => {
  const images = { demo: [], kernel: null, initrd: null, dtb: null, bios: null, loaders: [] };
  const recorded = config("-record", "x", "-m", "16");
  const { config: resolved, logHeader } = await setUpLog(recorded, images);
  assert(logHeader !== null && typeof resolved.rtc.base === "number");
  assert.deepEqual([logHeader.rtcBase, logHeader.seed], [resolved.rtc.base, 0]);
  const drive = {
    id: "d0",
    source: { kind: "file", path: "disk" },
    readOnly: false,
    snapshot: false,
  } as unknown as MachineConfig["drives"][number];
  await assert.rejects(setUpLog({ ...recorded, drives: [drive] }, images), HostError);
  await setUpLog({ ...recorded, drives: [{ ...drive, snapshot: true }] }, images);
});

Deno.test("random numbers follow from the seed", () => {
  const some = (seed: number) => [...seededRandom(seed)(8)];
  assert.deepEqual(some(1), some(1));
  assert.notDeepEqual(some(1), some(2));
  assert.notDeepEqual(some(1), some(1 + 2 ** 32));
  const random = seededRandom(3), counts = new Array<number>(256).fill(0);
  for (const byte of random(256 * 400)) counts[byte]!++;
  assert(counts.every((count) => count > 300 && count < 500));
});
