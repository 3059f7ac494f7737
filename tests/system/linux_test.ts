// Debian's arm64 kernel, unmodified: boots at EL2 (with and without VHE) and at EL1 to a shell, runs a script, powers off.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { fetchLinux, type LinuxFiles } from "../../src/machine/fetch_linux.ts";

const LIMIT_MS = 180_000;
const PROMPT = "vitrine:/root# ";

/** Fetched once; null on a host that cannot, which is a failure only where the test command must be complete. */
const files: LinuxFiles | null = await fetchLinux().catch((error) => {
  console.log(`MISSING Debian's kernel: ${error.message}`);
  if (Deno.env.get("CI")) throw error;
  return null;
});

/** Boots to the prompt, runs `script` there, powers off; all output. */
async function boot(options: readonly string[], script: string): Promise<string> {
  const { kernel, initrd } = files!;
  const run = new Run(VITRINE, [
    ...["-m", "512", "-nic", "none", "-nographic"],
    ...["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyAMA0"],
    ...options,
  ]);
  await run.until(PROMPT, LIMIT_MS);
  await run.type(`${script}\necho FINI""SHED\n`);
  await run.until("FINISHED", LIMIT_MS);
  await run.type("poweroff\n");
  assert.equal(await run.end(LIMIT_MS), 0);
  return run.output.replaceAll("\r", "");
}

const BOOTS = [
  {
    name: "cortex-a57: EL2 without VHE",
    options: ["-cpu", "cortex-a57"],
    log: [/CPU: All CPU\(s\) started at EL2/, /Hyp mode initialized successfully/],
  },
  { name: "cortex-a76: EL2 with VHE", options: ["-cpu", "cortex-a76"], log: [/VHE mode initialized successfully/] },
  {
    name: "EL1 only",
    options: ["-M", "virt,gic-version=3", "-cpu", "cortex-a57"],
    log: [/CPU: All CPU\(s\) started at EL1/],
  },
];

for (const { name, options, log } of BOOTS) {
  Deno.test({
    name: `Linux boots to a shell: ${name}`,
    ignore: files === null,
    fn: async () => {
      const text = await boot(options, "dmesg | grep -c . ; uname -m");
      for (const line of log) assert.match(text, line);
      assert.match(text, /^aarch64$/m);
    },
  });
}

/** Each line of output that counts begins with a mark, which the echo of what was typed does not. */
const SCRIPT = String.raw`
say() { echo "=$*"; }
say pipe $(seq 1 1000 | grep 7 | wc -l)
seq 1 20000 > /tmp/numbers
say sum $(sha256sum < /tmp/numbers | cut -c1-64)
i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done; say forks $i
say awk $(awk 'BEGIN { x = 0; for (i = 1; i <= 1000; i++) x += i * 1.5 / 7; printf "%.6f", x }')
gzip -c /tmp/numbers > /tmp/n.gz; say gzip $(gunzip -c /tmp/n.gz | cmp - /tmp/numbers && echo same)
`;

async function expectedOutput(): Promise<string[]> {
  const numbers = new TextEncoder().encode(Array.from({ length: 20000 }, (_, n) => `${n + 1}\n`).join(""));
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", numbers)).toHex();
  const sevens = Array.from({ length: 1000 }, (_, n) => String(n + 1)).filter((text) => text.includes("7")).length;
  let sevenths = 0;
  for (let i = 1; i <= 1000; i++) sevenths += (i * 1.5) / 7;
  return [`pipe ${sevens}`, `sum ${sum}`, "forks 200", `awk ${sevenths.toFixed(6)}`, "gzip same"];
}

Deno.test({
  name: "a script in the guest: pipes, files, sha256sum, 200 forks, awk, gzip",
  ignore: files === null,
  fn: async () => {
    const text = await boot(["-cpu", "cortex-a57"], SCRIPT.trim());
    const said = [...text.matchAll(/^=(.*)$/gm)].map((match) => match[1]!.trim());
    assert.deepEqual(said, await expectedOutput());
  },
});
