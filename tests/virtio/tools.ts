// Programs that tests compare with, and places to keep images in.

/** Runs a program to its end. Throws with what it said when it fails, unless its code is one of `accepted`. */
export async function runTool(program: string, args: readonly string[], accepted: readonly number[] = [0]) {
  const child = new Deno.Command(program, { args: [...args], stdin: "null", stdout: "piped", stderr: "piped" });
  const { code, stdout, stderr } = await child.output(), text = (data: Uint8Array) => new TextDecoder().decode(data);
  if (!accepted.includes(code)) {
    throw new Error(`${program} ${args.join(" ")}: ${code}\n${text(stdout)}${text(stderr)}`);
  }
  return { code, output: text(stdout) };
}

/** Whether all programs are there. */
export async function hasTools(...programs: string[]): Promise<boolean> {
  const there = await Promise.all(
    programs.map((program) =>
      new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).output().then(
        () => true,
        () => false,
      )
    ),
  );
  return there.every(Boolean);
}

/** A directory for one test. */
export async function inDirectory(use: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempDir({ prefix: "vitrine-test-" });
  try {
    await use(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

/** Random numbers that follow from a seed. */
export class Dice {
  readonly #bytes: (count: number) => Uint8Array;
  constructor(bytes: (count: number) => Uint8Array) {
    this.#bytes = bytes;
  }
  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return new DataView(this.#bytes(4).slice().buffer).getUint32(0) % limit;
  }
  pick<T>(...from: T[]): T {
    return from[this.below(from.length)]!;
  }
  /** Zero, one, powers of two and their neighbours, and anything. */
  word(): number {
    return this.pick(0, 1, 2, 3, 4, 8, 16, 17, 0x100, 0xffff, 0x7fffffff, 0xffffffff, this.below(2 ** 32));
  }
}
