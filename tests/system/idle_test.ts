// What a guest costs that has nothing to do.

import assert from "node:assert/strict";
import { VITRINE } from "../../bench/machines.ts";
import { repeat } from "../replay/session.ts";

/** Processor time of a process and all its threads, in milliseconds. */
function cpuMs(pid: number): number {
  const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).replace(/^.*\) /, "").split(" "), MS_PER_JIFFY = 10;
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_JIFFY;
}

for (const time of [[], ["-icount", "auto"]]) {
  Deno.test(`a guest that waits costs at most 1 % of a core: ${time.join(" ") || "host time"}`, async () => {
    const args = [...VITRINE.args, ...repeat("idle", "-smp", "2"), "-nographic", ...time];
    const child = new Deno.Command(VITRINE.command, { args, stdin: "null", stdout: "piped" }).spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    for (let output = ""; !output.includes("asleep");) output += (await reader.read()).value ?? "";
    // The engine optimises what it saw for a while.
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const before = cpuMs(child.pid), start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 4000));
    const share = (cpuMs(child.pid) - before) / (performance.now() - start);
    child.kill("SIGTERM");
    await child.status;
    await reader.cancel();
    assert(share <= 0.01, `${(share * 100).toFixed(2)} %`);
  });
}

Deno.test("a machine that -no-shutdown keeps costs nothing, whatever is typed", async () => {
  const args = [...VITRINE.args, ...repeat("echo", "-no-shutdown"), "-nographic"];
  const child = new Deno.Command(VITRINE.command, { args, stdin: "piped", stdout: "piped" }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader(), writer = child.stdin.getWriter();
  let output = "";
  const until = async (text: string) => {
    while (!output.includes(text)) output += (await reader.read()).value ?? "";
  };
  await until("boot 1");
  await writer.write(new TextEncoder().encode("q"));
  await until("q at");
  await writer.write(new TextEncoder().encode("more"));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const before = cpuMs(child.pid), start = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const share = (cpuMs(child.pid) - before) / (performance.now() - start);
  child.kill("SIGTERM");
  assert.equal((await child.status).code, 143);
  await writer.close().catch(() => {});
  await reader.cancel();
  assert(share <= 0.015, `${(share * 100).toFixed(2)} %`);
});
