// Debian's kernel with busybox as a guest whose shell is typed to, in this program or in QEMU.

import { type Machine, Run } from "../../bench/machines.ts";
import { fetchLinux, type LinuxFiles } from "../../src/machine/fetch_linux.ts";

/** For a host that is busy with other things. */
const LIMIT_MS = 240_000;
const PROMPT = "vitrine:/root# ";

/** Fetched once; null on a host that cannot, which is a failure only where the test command must be complete. */
export const linux = (): Promise<LinuxFiles | null> =>
  fetchLinux().catch((error) => {
    console.log(`MISSING Debian's kernel: ${error.message}`);
    if (Deno.env.get("CI")) throw error;
    return null;
  });

/** Whether the host has a program; without it what needs it is skipped, which CI must not be. */
export async function commandHere(name: string): Promise<boolean> {
  const there = await new Deno.Command(name, { args: ["--version"], stdout: "null", stderr: "null" }).output()
    .then(() => true, () => false);
  if (there) return true;
  console.log(`MISSING ${name}`);
  if (Deno.env.get("CI")) throw new Error(`${name} is not installed`);
  return false;
}

export class Guest {
  readonly #run: Run;
  #commands = 0;

  constructor(machine: Machine, files: LinuxFiles, options: readonly string[]) {
    const board = machine.name === "qemu" ? ["-M", "virt", "-cpu", "cortex-a57"] : [];
    this.#run = new Run(machine, [
      ...[...board, "-m", "192", "-display", "none", "-serial", "stdio", "-kernel", files.kernel],
      ...["-initrd", files.initrd, "-append", "console=ttyAMA0 quiet", ...options],
    ]);
  }

  get output(): string {
    return this.#run.output;
  }

  async ready(): Promise<this> {
    await this.#run.until(PROMPT, LIMIT_MS);
    return this;
  }

  /** Starts a command; its output, without carriage returns, when it has ended. */
  async run(command: string): Promise<string> {
    const n = this.#commands++;
    // The echo of what is typed does not look like the marks.
    await this.#run.type(`echo "<""${n}"; ${command}; echo "${n}"">"\n`);
    await this.#run.until(`\n${n}>`, LIMIT_MS);
    const text = this.#run.output.replaceAll("\r", "");
    return text.slice(text.indexOf(`\n<${n}\n`) + `\n<${n}\n`.length, text.lastIndexOf(`\n${n}>`) + 1);
  }

  async off(): Promise<void> {
    await this.#run.type("poweroff\n");
    await this.#run.end(20_000);
  }
  async kill(): Promise<void> {
    await this.#run.end(0);
  }
}

/** A TCP port of the loopback that nobody listens on now. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
