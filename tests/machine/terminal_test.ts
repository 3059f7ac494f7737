// The terminal: escape sequences, and a real pseudo-terminal that is left as it was found.

import { assertSpyCalls, spy } from "@std/testing/mock";
import assert from "node:assert/strict";
import { EscapeFilter } from "../../src/machine/terminal.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function filter() {
  const quit = spy(), help = spy();
  const escapes = new EscapeFilter({ quit, help });
  return { quit, help, type: (text: string) => new TextDecoder().decode(escapes.filter(bytes(text))) };
}

Deno.test("Ctrl-A x quits, Ctrl-A h helps, Ctrl-A Ctrl-A sends Ctrl-A", () => {
  const { quit, help, type } = filter();
  assert.equal(type("ab\x01hcd"), "abcd");
  assertSpyCalls(help, 1);
  assert.equal(type("\x01\x01x"), "\x01x");
  assertSpyCalls(quit, 0);
  assert.equal(type("x\x01x"), "x");
  assertSpyCalls(quit, 1);
});

Deno.test("an escape may be cut in two, and an unknown one is swallowed", () => {
  const { quit, type } = filter();
  assert.equal(type("\x01"), "");
  assert.equal(type("x"), "");
  assertSpyCalls(quit, 1);
  assert.equal(type("\x01qz\x03"), "z\x03");
});

const SCRIPT = await new Deno.Command("script", { args: ["--version"] }).output().then((o) => o.success, () => false);

/** Runs the echo machine on a pseudo-terminal; types each text once the screen shows what it waits for. */
async function onTerminal(dialogue: [expect: string, typed: string][]): Promise<string> {
  const program = `${Deno.execPath()} run -A ${new URL("./terminal_main.ts", import.meta.url).pathname}`;
  const settings = "stty -a | grep -o -e '-*icanon' -e '-*echo '";
  const child = new Deno.Command("script", {
    args: ["-qec", `${settings}; ${program}; echo "code $?"; ${settings}`, "/dev/null"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const input = child.stdin.getWriter();
  let screen = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    screen += text;
    const next = dialogue[0];
    if (next && screen.includes(next[0])) await input.write(bytes(dialogue.shift()![1]));
  }
  await input.close().catch(() => {});
  await child.status;
  return screen.replaceAll("\r", "");
}

Deno.test({
  name: "on a terminal keys go to the guest unseen, and the terminal is given back",
  ignore: !SCRIPT,
  fn: async () => {
    const screen = await onTerminal([["READY", "hello\x03\x01h"], ["hello\x03", "\x01x"]]);
    assert.match(screen, /Ctrl-A x {7}quit/);
    assert.match(screen, /code 0\n/);
    const [before, after] = [screen.split("READY")[0]!, screen.split("code 0\n")[1]!];
    assert.equal(before.trim(), "icanon\necho");
    assert.equal(after.trim(), before.trim());
  },
});
