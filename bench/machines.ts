// The two programs that are compared, and one run of either: started, watched on its standard output, measured, ended.

/** A program that takes QEMU's options. */
export interface Machine {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const root = new URL("../", import.meta.url);

/** As `deno task run` starts it: NAME=VALUE words, then `deno` and its arguments up to main.ts. */
const task: string[] = JSON.parse(Deno.readTextFileSync(new URL("deno.json", root))).tasks.run.command.split(" ");
const program = task.indexOf("deno");

export const VITRINE: Machine = {
  name: "vitrine",
  command: Deno.execPath(),
  args: [...task.slice(program + 1, -1), new URL("main.ts", root).pathname],
  env: Object.fromEntries(task.slice(0, program).map((word) => word.split("=") as [string, string])),
};
export const QEMU: Machine = { name: "qemu", command: "qemu-system-aarch64", args: [] };

/** A running guest and what it has said. */
export class Run {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #listening: Promise<void>;
  readonly #startMs = performance.now();
  #output = "";
  #ended = false;
  #heard: () => void = () => {};
  /** Milliseconds from the start to the first byte; NaN before. */
  firstByteMs = NaN;

  constructor(readonly machine: Machine, args: readonly string[]) {
    this.#child = new Deno.Command(machine.command, {
      args: [...machine.args, ...args],
      env: machine.env ?? {},
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#listening = this.#listen();
  }

  get elapsedMs(): number {
    return performance.now() - this.#startMs;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get output(): string {
    return this.#output;
  }

  async #listen(): Promise<void> {
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      if (this.#output === "") this.firstByteMs = this.elapsedMs;
      this.#output += text;
      this.#heard();
    }
    this.#ended = true;
    this.#heard();
  }

  /** Resolves with the time when `text` is on the output. Throws if the program ends first or takes too long. */
  async until(text: string, limitMs: number): Promise<number> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), limitMs);
    try {
      while (!this.#output.includes(text)) {
        if (this.#ended) {
          throw new Error(`${this.machine.name} ended without "${text}":\n${this.#output.slice(-2000)}`);
        }
        await new Promise<void>((resolve) => this.#heard = resolve);
      }
      return this.elapsedMs;
    } finally {
      clearTimeout(timer);
    }
  }

  async type(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text));
  }

  /** Resident memory so far at its peak, and the most that one mapping holds (which is where the guest's RAM is), in MiB. */
  memoryMiB(): { peak: number; largestMapping: number } {
    const status = Deno.readTextFileSync(`/proc/${this.#child.pid}/status`);
    const maps = Deno.readTextFileSync(`/proc/${this.#child.pid}/smaps`);
    const resident = [...maps.matchAll(/^Rss:\s+(\d+) kB/gm)].map((match) => Number(match[1]));
    return { peak: Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024, largestMapping: Math.max(...resident) / 1024 };
  }

  /** Waits for the end; the exit code. */
  async end(limitMs: number): Promise<number> {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), limitMs);
    const { code } = await this.#child.status;
    await this.#listening;
    clearTimeout(timer);
    await this.#input.close().catch(() => {});
    return code;
  }
}
