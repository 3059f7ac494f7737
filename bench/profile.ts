// Measures which shapes of instructions are executed most, to choose the handlers inside the interpreter's main function.
//   deno run -A bench/profile.ts KERNEL [INITRD] [APPEND]   runs until power-off or 60 s, adds to bench/profile.json
//   deno run -A bench/profile.ts --write N                  writes the N most frequent to src/jit/hot_shapes.json

import { hostClock, hostWallSeconds } from "../src/base/clock.ts";
import { silentTracer } from "../src/base/trace.ts";
import { createMemory } from "../src/machine/daemon.ts";
import type { MachineImages } from "../src/machine/config.ts";
import { Machine } from "../src/machine/machine.ts";
import { parseCommandLine } from "../src/machine/options.ts";

const PROFILE_AT = 0x00f8_0000, HANDLERS = 16384;
const STORE = new URL("profile.json", import.meta.url);
type Row = { key: string; word: number; near: boolean; count: number };

function load(): Map<string, Row> {
  try {
    return new Map((JSON.parse(Deno.readTextFileSync(STORE)) as Row[]).map((r) => [r.key, r]));
  } catch {
    return new Map();
  }
}
const sorted = (rows: Map<string, Row>) => [...rows.values()].sort((a, b) => b.count - a.count);

function profile(kernel: string, initrd: string | undefined, append: string | undefined) {
  const args = [
    "-kernel",
    kernel,
    ...(initrd ? ["-initrd", initrd] : []),
    ...(append ? ["-append", append] : []),
    "-m",
    "512",
  ];
  const command = parseCommandLine([...args, "-cpu", Deno.env.get("CPU") ?? "cortex-a57"]);
  if (command.kind !== "run") throw new Error("not a run");
  const memory = createMemory(command.config);
  const images: MachineImages = {
    demo: [],
    kernel: Deno.readFileSync(kernel),
    initrd: initrd ? Deno.readFileSync(initrd) : null,
    dtb: null,
    bios: null,
    loaders: [],
  };
  const clock = hostClock();
  const machine = new Machine(command.config, images, {
    memory,
    clock,
    wallSeconds: hostWallSeconds,
    random: (count) => new Uint8Array(count).fill(7),
    trace: silentTracer(),
    serial: { transmit: (byte) => (Deno.stdout.writeSync(new Uint8Array([byte])), true), receive: () => -1 },
    profileAt: PROFILE_AT,
  });
  clock.start();
  const end = performance.now() + Number(Deno.env.get("SECONDS") ?? 60) * 1000;
  const nap = new Int32Array(new SharedArrayBuffer(4));
  while (machine.power === "on" && performance.now() < end) if (!machine.runSlice()) Atomics.wait(nap, 0, 0, 1);
  const counts = new Uint32Array(memory.buffer, PROFILE_AT, HANDLERS), rows = load();
  // Every run weighs the same, however long it was.
  const total = counts.reduce((a, b) => a + b, 0);
  for (const [number, { key, word, near }] of machine.interpreter.shapes) {
    const count = Math.round((counts[number]! / total) * 1e9);
    if (count === 0) continue;
    const row = rows.get(key) ?? { key, word, near, count: 0 };
    rows.set(key, { ...row, count: row.count + count });
  }
  Deno.writeTextFileSync(STORE, JSON.stringify(sorted(rows)));
  console.log(`\n${machine.interpreter.shapes.size} shapes, ${total} instructions`);
}

if (Deno.args[0] === "--write") {
  const hot = sorted(load()).slice(0, Number(Deno.args[1] ?? 400));
  const lines = hot.map((r) => `  [${r.word >>> 0}, ${r.near ? 1 : 0}, ${JSON.stringify(r.key)}]`);
  Deno.writeTextFileSync(new URL("../src/jit/hot_shapes.json", import.meta.url), `[\n${lines.join(",\n")}\n]\n`);
} else {
  const [kernel, initrd, append] = Deno.args;
  if (!kernel) throw new Error("which kernel?");
  profile(kernel, initrd, append);
}
