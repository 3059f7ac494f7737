// The terminal: a real pseudo-terminal that is left as it was found.

import assert from "node:assert/strict";

const bytes = (text: string) => new TextEncoder().encode(text);

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
