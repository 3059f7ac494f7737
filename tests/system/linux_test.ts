// Debian's arm64 kernel, unmodified: boots at EL2 (with and without VHE) and at EL1, runs a script as its first program or
// from the shell, powers off. One boot per configuration.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { packCpio } from "../../src/machine/cpio.ts";
import { fetchLinux, type LinuxFiles } from "../../src/machine/fetch_linux.ts";

/** For a host that is busy with other things; a quiet one needs seconds. */
const LIMIT_MS = 300_000;
const PROMPT = "vitrine:/root# ";

/** Fetched once; null on a host that cannot, which is a failure only where the test command must be complete. */
const files: LinuxFiles | null = await fetchLinux().catch((error) => {
  console.log(`MISSING Debian's kernel: ${error.message}`);
  if (Deno.env.get("CI")) throw error;
  return null;
});

/** Each line of output that counts begins with a mark, which the echo of what was typed does not. */
const SCRIPT = String.raw`
say() { echo "=$*"; }
say pipe $(seq 1 1000 | grep 7 | wc -l)
seq 1 20000 > /tmp/numbers
say sum $(sha256sum < /tmp/numbers | cut -c1-64)
i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done; say forks $i
say awk $(awk 'BEGIN { x = 0; for (i = 1; i <= 1000; i++) x += i * 1.5 / 7; printf "%.6f", x }')
gzip -c /tmp/numbers > /tmp/n.gz; say gzip $(gunzip -c /tmp/n.gz | cmp - /tmp/numbers && echo same)
mkdir -p /tmp/a/b; cp /tmp/numbers /tmp/a/b/c; mv /tmp/a/b/c /tmp/a/d; rm -r /tmp/a/b; say tmpfs $(ls /tmp/a) $(wc -c < /tmp/a/d)
say machine $(uname -m)
`;

async function expectedLines(): Promise<string[]> {
  const numbers = new TextEncoder().encode(Array.from({ length: 20000 }, (_, n) => `${n + 1}\n`).join(""));
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", numbers)).toHex();
  const sevens = Array.from({ length: 1000 }, (_, n) => String(n + 1)).filter((text) => text.includes("7")).length;
  let sevenths = 0;
  for (let i = 1; i <= 1000; i++) sevenths += i * 1.5 / 7;
  return [
    `pipe ${sevens}`,
    `sum ${sum}`,
    "forks 200",
    `awk ${sevenths.toFixed(6)}`,
    "gzip same",
    `tmpfs d ${numbers.length}`,
    "machine aarch64",
  ];
}

/** The initramfs of `deno task run linux` with another first program: Linux unpacks one archive after the other. */
async function initramfsWith(script: string): Promise<string> {
  const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
exec </dev/console >/dev/console 2>&1
${script}
poweroff -f
`;
  const ours = packCpio([{ kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(init) }]);
  const path = await Deno.makeTempFile({ suffix: ".cpio" });
  await Deno.writeFile(path, await Deno.readFile(files!.initrd));
  await Deno.writeFile(path, ours, { append: true });
  return path;
}

function start(initrd: string, options: readonly string[]): Run {
  return new Run(VITRINE, [
    ...["-m", "512", "-nic", "none", "-nographic", "-kernel", files!.kernel, "-initrd", initrd],
    ...["-append", "console=ttyAMA0"],
    ...options,
  ]);
}

/** What the kernel says when it waited too long for something, or when it is surprised. */
const COMPLAINTS =
  /rcu: INFO|rcu_preempt.*stall|soft lockup|hard LOCKUP|hung_task|blocked for more than|clocksource: .*unstable|WARNING: CPU|BUG:|Oops|Kernel panic|Internal error|unhandled|Unexpected/i;

async function checkLog(output: string, expected: readonly RegExp[]): Promise<void> {
  const text = output.replaceAll("\r", "");
  for (const pattern of expected) assert.match(text, pattern);
  assert.deepEqual(text.split("\n").filter((line) => COMPLAINTS.test(line)), []);
  const said = [...text.matchAll(/^=(.*)$/gm)].map((match) => match[1]!.trim());
  assert.deepEqual(said, await expectedLines());
}

const BOOTS = [
  {
    name: "cortex-a57 at EL2, without VHE",
    options: ["-cpu", "cortex-a57"],
    log: [/CPU: All CPU\(s\) started at EL2/, /Hyp mode initialized successfully/],
  },
  {
    name: "cortex-a57 at EL1, the machine without EL2",
    options: ["-M", "virt,gic-version=3", "-cpu", "cortex-a57"],
    log: [/CPU: All CPU\(s\) started at EL1/],
  },
  {
    name: "two CPUs with GICv2, at EL1",
    options: ["-M", "virt", "-smp", "2"],
    log: [/CPU: All CPU\(s\) started at EL1/, /GICv2m: range.*SPI\[80:143\]/, /SMP: Total of 2 processors activated/],
  },
  {
    name: "two CPUs with GICv2, at EL2: KVM finds its virtual interface",
    options: ["-M", "virt,gic-version=2,virtualization=on", "-smp", "2"],
    log: [
      /GIC: Using split EOI\/Deactivate mode/,
      /kvm \[1\]: vgic interrupt IRQ\d/,
      /Hyp mode initialized successfully/,
    ],
  },
];

for (const { name, options, log } of BOOTS) {
  Deno.test({
    name: `Linux boots, runs a script and powers off: ${name}`,
    ignore: files === null,
    fn: async () => {
      const initrd = await initramfsWith(SCRIPT);
      const run = start(initrd, options);
      const code = await run.end(LIMIT_MS);
      await Deno.remove(initrd);
      assert.equal(code, 0, `ended with ${code} after:\n${run.output.slice(-2000)}`);
      await checkLog(run.output, log);
    },
  });
}

Deno.test({
  name: "Linux boots to a shell, which runs a script and powers off: cortex-a76 at EL2 with VHE",
  ignore: files === null,
  fn: async () => {
    const run = start(files!.initrd, ["-cpu", "cortex-a76"]);
    await run.until(PROMPT, LIMIT_MS);
    await run.type(`${SCRIPT.trim()}\necho FINI""SHED\n`);
    await run.until("FINISHED", LIMIT_MS);
    await run.type('while :; do echo on"ward"; sleep 1; done\n');
    await run.until("onward", LIMIT_MS);
    await run.type("\x03");
    await run.type('echo in"terrupted"\n');
    await run.until("interrupted", LIMIT_MS);
    await run.type("poweroff\n");
    assert.equal(await run.end(LIMIT_MS), 0);
    await checkLog(run.output, [/VHE mode initialized successfully/]);
  },
});
