// The command as a process: one clear line on stderr and exit code 2 for bad input, help on stdout.

import assert from "node:assert/strict";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

async function vitrine(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, ...args],
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

async function complains(expected: string, ...args: string[]): Promise<void> {
  assert.deepEqual(await vitrine(...args), { code: 2, out: "", err: `vitrine: ${expected}\n` });
}

Deno.test("--help and --version go to stdout with exit code 0", async () => {
  const help = await vitrine("--help");
  assert.equal(help.code, 0);
  assert.match(help.out, /^usage: deno task run/);
  assert.deepEqual(await vitrine("-version"), { code: 0, out: "vitrine 0.1.0\n", err: "" });
  assert.match((await vitrine("-d", "help")).out, /guest_errors/);
});

Deno.test("bad input is one line on stderr and exit code 2", async () => {
  await complains("option -frobnicate is not known: --help lists them", "-frobnicate");
  await complains('option -cpu: "z80" is not one of cortex-a57, cortex-a72, cortex-a76, max', "-cpu", "z80");
  await complains("cannot read kernel /nowhere: no such file or directory", "-kernel", "/nowhere", "-serial", "null");
  await complains("cannot open /nowhere/log: no such file or directory", "-serial", "file:/nowhere/log");
});

Deno.test("a busy port is one line on stderr and exit code 2", async () => {
  using listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const address = `tcp:127.0.0.1:${listener.addr.port}`;
  await complains(`cannot listen on ${address}: address already in use`, "-serial", `${address},server=on`);
});

Deno.test("linux without apt says how to pass one's own kernel", async () => {
  const empty = await Deno.makeTempDir();
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, "linux"],
    stdin: "null",
    env: { XDG_CACHE_HOME: empty, PATH: empty },
  }).output();
  const lines = new TextDecoder().decode(stderr).trimEnd().split("\n");
  assert.equal(code, 2);
  assert.match(
    lines.at(-1)!,
    /^vitrine: cannot fetch Debian's kernel: this host has no apt; pass your own kernel with: /,
  );
  await Deno.remove(empty, { recursive: true });
});
