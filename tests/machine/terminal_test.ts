// The terminal: a real pseudo-terminal that is left as it was found.

import assert from "node:assert/strict";

const bytes = (text: string) => new TextEncoder().encode(text);

const SCRIPT = await new Deno.Command("script", { args: ["--version"] }).output().then((o) => o.success, () => false);

interface Screen {
  /** What was shown before the machine's first output, and after the program's end: the terminal's settings. */
  readonly before: string;
  readonly after: string;
  readonly all: string;
}

/** Runs the echo machine on a pseudo-terminal; types each text, or sends each signal, once the screen shows what it waits for. */
async function onTerminal(
  options: string,
  dialogue: [expect: string, typed: string | Deno.Signal[]][],
): Promise<Screen> {
  const pidFile = await Deno.makeTempFile();
  const main = new URL("./terminal_main.ts", import.meta.url).pathname;
  const program = `${Deno.execPath()} run -A ${main} ${pidFile} ${options}`;
  const settings = "stty -a | grep -o -e '-*icanon' -e '-*echo ' -e '-*isig'";
  const child = new Deno.Command("script", {
    // The shell is in the terminal's foreground too: a Ctrl-C that the program handles must not end the shell.
    args: ["-qec", `trap : INT; ${settings}; ${program}; echo "code $?"; ${settings}`, "/dev/null"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const input = child.stdin.getWriter();
  let screen = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    screen += text;
    for (let next = dialogue[0]; next && screen.includes(next[0]); next = dialogue[0]) {
      dialogue.shift();
      if (typeof next[1] === "string") await input.write(bytes(next[1]));
      else for (const signal of next[1]) Deno.kill(Number(await Deno.readTextFile(pidFile)), signal);
    }
  }
  await input.close().catch(() => {});
  await child.status;
  await Deno.remove(pidFile);
  const all = screen.replaceAll("\r", "");
  return { all, before: all.split("READY")[0]!.trim(), after: /code \d+\n(.*)$/s.exec(all)![1]!.trim() };
}

Deno.test({
  name: "on a terminal keys go to the guest unseen, and the terminal is given back",
  ignore: !SCRIPT,
  fn: async () => {
    const { all, before, after } = await onTerminal("", [
      ["READY", "hello\x03\x01h"],
      ["hello\x03", "\x01b"],
      ["<break>", "\x01x"],
    ]);
    assert.match(all, /Ctrl-A x {7}quit/);
    assert.match(all, /code 0\n/);
    assert.deepEqual([before, after], ["isig\nicanon\necho", before]);
  },
});

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  Deno.test({
    name: `${signal} gives the terminal back`,
    ignore: !SCRIPT,
    fn: async () => {
      const { all, before, after } = await onTerminal("-serial mon:stdio", [["READY", [signal]]]);
      assert.match(all, new RegExp(`code ${code}\n`));
      assert.equal(after, before);
    },
  });
}

Deno.test({
  name: "signal=on leaves Ctrl-C to the terminal; being stopped and continued changes nothing",
  ignore: !SCRIPT,
  fn: async () => {
    const { all, before, after } = await onTerminal("-chardev stdio,id=t,mux=off,signal=on -serial chardev:t", [
      ["READY", ["SIGSTOP", "SIGCONT"]],
      ["READY", "a\x01x"],
      ["a\x01x", "\x03"],
    ]);
    assert.match(all, /code 130\n/);
    assert.equal(after, before);
  },
});
