// The real gdb, in batch, attached to the real command.

import { Run, VITRINE } from "../../bench/machines.ts";

/** The real gdb; VITRINE_GDB names another one than the host's. */
export const GDB = Deno.env.get("VITRINE_GDB") ?? "gdb-multiarch";
const LIMIT_MS = 120_000;

/** Whether there is a gdb. */
export async function hasGdb(): Promise<boolean> {
  const version = new Deno.Command(GDB, { args: ["--version"], stdout: "null", stderr: "null" });
  return await version.output().then(({ success }) => success, () => false);
}

/** A machine that listens for debuggers. */
export class Debuggee {
  private constructor(readonly run: Run, readonly socket: string) {}

  static async start(options: readonly string[]): Promise<Debuggee> {
    const socket = await Deno.makeTempFile({ suffix: ".gdb" });
    await Deno.remove(socket);
    const debuggee = new Debuggee(new Run(VITRINE, [...options, "-gdb", `unix:${socket}`]), socket);
    for (const start = performance.now(); performance.now() - start < LIMIT_MS;) {
      if (await Deno.stat(socket).then(() => true, () => false)) return debuggee;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error("nobody listens for a debugger");
  }

  /** Runs gdb's commands on it; what gdb says. Every error of a command is in it, and ends nothing. */
  async gdb(...commands: readonly string[]): Promise<string> {
    return await this.gdbWith([], ...commands);
  }
  /** The same with commands that come before it attaches. */
  async gdbWith(first: readonly string[], ...commands: readonly string[]): Promise<string> {
    const lines = [
      ...first,
      ...["set pagination off", "set confirm off", "set breakpoint pending on"],
      ...["set remotetimeout 60", `target extended-remote ${this.socket}`, ...commands],
    ];
    const child = new Deno.Command("sh", {
      args: ["-c", 'exec "$0" "$@" 2>&1', GDB, "-q", "-nx", "-batch", ...lines.flatMap((line) => ["-ex", line])],
      stdin: "null",
      stdout: "piped",
      env: { LC_ALL: "C", DEBUGINFOD_URLS: "" },
    }).spawn();
    const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
    const { stdout } = await child.output();
    clearTimeout(timer);
    return new TextDecoder().decode(stdout);
  }

  /** Ends it, whatever it does. */
  async end(): Promise<void> {
    await this.run.end(0);
    await Deno.remove(this.socket).catch(() => {});
  }
}
