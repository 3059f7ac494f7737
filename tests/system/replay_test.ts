// Debian's kernel on time that follows the instruction count: boots are the same to the last bit, and a session at the
// shell that was recorded through the command repeats through the command.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { packCpio } from "../../src/machine/cpio.ts";
import { fetchLinux, type LinuxFiles } from "../../src/machine/fetch_linux.ts";
import { repeat } from "../replay/session.ts";

const LIMIT_MS = 300_000;
const PROMPT = "vitrine:/root# ";
/** Ten take minutes: all of them only where there is time. */
const BOOTS = Deno.env.get("CI") ? 10 : 3;

/** Fetched once; null on a host that cannot, which is a failure only where the test command must be complete. */
const files: LinuxFiles | null = await fetchLinux().catch((error) => {
  console.log(`MISSING Debian's kernel: ${error.message}`);
  if (Deno.env.get("CI")) throw error;
  return null;
});

/** Work on all CPUs at once, with times that depend on how they take turns. */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for n in 1 2 3 4; do
  (i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done; echo "worker $n at $(cat /proc/uptime)") &
done
wait
grep -v : /proc/interrupts | head -1; head -c 16 /dev/urandom | hexdump -C; date; cat /proc/uptime /proc/stat
poweroff -f
`;

async function initramfs(): Promise<string> {
  const ours = packCpio([{ kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(INIT) }]);
  const path = await Deno.makeTempFile({ suffix: ".cpio" });
  await Deno.writeFile(path, await Deno.readFile(files!.initrd));
  await Deno.writeFile(path, ours, { append: true });
  return path;
}

const linux = (initrd: string, ...more: string[]) => [
  ...["-m", "256", "-nic", "none", "-nographic", "-kernel", files!.kernel, "-initrd", initrd],
  ...["-append", "console=ttyAMA0", ...more],
];

for (const cpus of ["1", "4"]) {
  Deno.test({
    name: `boots of Linux are the same to the last bit, with ${cpus} CPUs`,
    ignore: files === null,
    fn: async () => {
      const initrd = await initramfs(), log = await Deno.makeTempFile();
      const time = ["-icount", "auto,sleep=off", "-rtc", "base=2024-02-29,clock=vm", "-record", log];
      let first: { output: string; log: Uint8Array } | undefined;
      for (let n = 0; n < BOOTS; n++) {
        const run = new Run(VITRINE, linux(initrd, "-smp", cpus, ...time));
        assert.equal(await run.end(LIMIT_MS), 0);
        // Without input, the log holds hashes of registers on the way and of all memory at the end.
        const result = { output: run.output, log: await Deno.readFile(log) };
        assert.match(result.output, /worker 4 at/);
        assert.match(result.output, /Feb 29/);
        first ??= result;
        assert.equal(result.output, first.output);
        assert.deepEqual(result.log, first.log);
      }
      await Deno.remove(initrd);
      await Deno.remove(log);
    },
  });
}

Deno.test({
  name: "a session at the shell repeats, and what is not its log is refused with 2",
  ignore: files === null,
  fn: async () => {
    const log = await Deno.makeTempFile();
    const options = (...more: string[]) => linux(files!.initrd, "-smp", "2", ...more);
    const recorded = new Run(VITRINE, options("-record", log));
    await recorded.until(PROMPT, LIMIT_MS);
    await recorded.type("cat /proc/uptime; sleep 0.3; date\n");
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await recorded.type("grep ^cpu /proc/stat; cat /proc/uptime; echo DO''NE\n");
    await recorded.until("DONE", LIMIT_MS);
    await recorded.type("poweroff\n");
    assert.equal(await recorded.end(LIMIT_MS), 0);

    const replayed = new Run(VITRINE, options("-replay", log));
    assert.equal(await replayed.end(LIMIT_MS), 0);
    assert.equal(replayed.output, recorded.output);

    const other = new Run(VITRINE, linux(files!.initrd, "-smp", "3", "-replay", log));
    assert.equal(await other.end(LIMIT_MS), 2);
    await Deno.truncate(log, (await Deno.stat(log)).size - 5);
    assert.equal(await new Run(VITRINE, options("-replay", log)).end(LIMIT_MS), 2);
    await Deno.remove(log);
  },
});

Deno.test("a recording that is ended by a signal has its end", async () => {
  const log = await Deno.makeTempFile(), options = repeat("echo", "-nographic");
  const child = new Deno.Command(VITRINE.command, {
    args: [...VITRINE.args, ...options, "-icount", "2,rr=record,rrfile=" + log],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let output = "";
  const until = async (text: string) => {
    while (!output.includes(text)) output += (await reader.read()).value ?? "";
  };
  await until("boot 1");
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("abc"));
  await until("c at");
  child.kill("SIGTERM");
  assert.equal((await child.status).code, 143);
  for (let part = await reader.read(); !part.done; part = await reader.read()) output += part.value;
  await writer.close().catch(() => {});

  const replayed = new Run(VITRINE, [...options, "-icount", "2,rr=replay,rrfile=" + log]);
  assert.equal(await replayed.end(LIMIT_MS), 0);
  assert.equal(replayed.output, output);
  await Deno.remove(log);
});
