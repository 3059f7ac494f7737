// `deno task bench`: the same guests with the same command lines on this program and on QEMU TCG, one after the other, as
// ratios of wall time (below 1: faster than QEMU). Options: --only=kernels|boot|demo|gdb|net|disks, --cpu=MODEL, --repeat=N, --json=FILE.

import { parse } from "@std/flags";
import { fetchLinux } from "../src/machine/fetch_linux.ts";
import { measureDisks } from "./disks.ts";
import { type GdbResult, measureStub } from "./gdb.ts";
import { type Machine, QEMU, Run, VITRINE } from "./machines.ts";
import { measureNet, type NetRate } from "./net.ts";

const options = parse(Deno.args, { string: ["only", "cpu", "json"], default: { cpu: "cortex-a57", repeat: 1 } });
const repeat = Number(options.repeat);
const board = ["-M", "virt,gic-version=3,virtualization=on", "-cpu", String(options.cpu), "-nic", "none", "-nographic"];
const here = (path: string) => new URL(path, import.meta.url).pathname;

const LIMIT_MS = 300_000;
/** Under `-icount shift=0` an instruction takes 1 ns, and a tick of the 62.5 MHz counter 16. */
const INSTRUCTIONS_PER_TICK = 16, TICK_NS = 16;

const results: Record<string, unknown> = { cpu: options.cpu, date: new Date().toISOString() };
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
const geometricMean = (values: readonly number[]) =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const text = [head, ...rows].map((row) =>
    row.map((cell) => typeof cell === "number" ? cell.toFixed(cell < 10 ? 2 : 0) : cell)
  );
  const widths = head.map((_, column) => Math.max(...text.map((row) => row[column]!.length)));
  for (const row of text) {
    console.log(row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  "));
  }
  console.log();
}

interface KernelResult {
  readonly checksum: string;
  readonly ticks: number;
}

async function runKernels(machine: Machine, more: readonly string[] = []): Promise<Map<string, KernelResult>> {
  const run = new Run(machine, [...board, "-kernel", here("kernels/kernels.elf"), ...more]);
  await run.until("bench done", LIMIT_MS);
  await run.end(LIMIT_MS);
  const lines = run.output.matchAll(/^bench (\S+) ([0-9a-f]+) (\d+)/gm);
  return new Map([...lines].map(([, name, checksum, ticks]) => [name!, { checksum: checksum!, ticks: Number(ticks) }]));
}

async function benchKernels(): Promise<void> {
  const counted = await runKernels(QEMU, ["-icount", "shift=0,sleep=off"]);
  const ours: Map<string, KernelResult>[] = [], theirs: Map<string, KernelResult>[] = [];
  for (let n = 0; n < repeat; n++) {
    ours.push(await runKernels(VITRINE));
    theirs.push(await runKernels(QEMU));
  }
  const ticks = (runs: readonly Map<string, KernelResult>[], name: string) =>
    median(runs.map((run) => run.get(name)?.ticks ?? NaN));
  const kernels = [...counted].map(([name, { checksum, ticks: count }]) => {
    const wrong = [...ours, ...theirs].find((run) => run.get(name)?.checksum !== checksum);
    if (wrong) throw new Error(`${name}: checksum ${wrong.get(name)?.checksum} is not ${checksum}`);
    const instructions = count * INSTRUCTIONS_PER_TICK;
    const mips = (t: number) => instructions / (t * TICK_NS) * 1000;
    const our = ticks(ours, name), their = ticks(theirs, name);
    return { name, millions: instructions / 1e6, vitrineMips: mips(our), qemuMips: mips(their), ratio: our / their };
  });
  table(
    ["kernel", "M instructions", "vitrine MIPS", "QEMU MIPS", "time / QEMU"],
    kernels.map((k) => [k.name, k.millions, k.vitrineMips, k.qemuMips, k.ratio]),
  );
  for (const kind of ["int", "fp", "switch"]) {
    const some = kernels.filter(({ name }) => name.startsWith(`${kind}/`));
    const mips = median(some.map((k) => k.vitrineMips)), ratio = geometricMean(some.map((k) => k.ratio));
    console.log(`${kind}: median ${mips.toFixed(0)} MIPS, geometric mean ${ratio.toFixed(2)} × QEMU's time`);
  }
  console.log();
  results.kernels = kernels;
}

interface BootResult {
  shellMs: number;
  peakMiB: number;
  largestMappingMiB: number;
}

const SHELL_PROMPT = "vitrine:/root# ";

async function boot(machine: Machine, kernel: string, initrd: string): Promise<BootResult> {
  const files = ["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyAMA0 quiet"];
  const run = new Run(machine, [...board, "-m", "512", ...files]);
  const shellMs = await run.until(SHELL_PROMPT, LIMIT_MS);
  const { peak, largestMapping } = run.memoryMiB();
  await run.type("poweroff -f\n");
  const code = await run.end(LIMIT_MS);
  if (code !== 0) throw new Error(`${machine.name}: exit code ${code} after poweroff`);
  return { shellMs, peakMiB: peak, largestMappingMiB: largestMapping };
}

async function benchBoot(): Promise<void> {
  const { kernel, initrd } = await fetchLinux();
  const ours: BootResult[] = [], theirs: BootResult[] = [];
  for (let n = 0; n < repeat; n++) {
    ours.push(await boot(VITRINE, kernel, initrd));
    theirs.push(await boot(QEMU, kernel, initrd));
  }
  const middle = (runs: readonly BootResult[], key: keyof BootResult) => median(runs.map((run) => run[key]));
  const row = (name: string, key: keyof BootResult, scale: number) => {
    const [our, their] = [middle(ours, key) / scale, middle(theirs, key) / scale];
    return [name, our, their, our / their];
  };
  table(["Linux to the shell", "vitrine", "QEMU", "ratio"], [
    row("wall time, s", "shellMs", 1000),
    row("peak memory, MiB", "peakMiB", 1),
    row("of which the mapping with RAM, MiB", "largestMappingMiB", 1),
  ]);
  results.boot = { vitrine: ours, qemu: theirs };
}

async function benchDemo(): Promise<void> {
  const image = here("../tests/guests/two_guests/two_guests.elf");
  const firstByte = async (machine: Machine, args: readonly string[]) => {
    const times: number[] = [];
    for (let n = 0; n < Math.max(3, repeat); n++) {
      const run = new Run(machine, args);
      await run.end(LIMIT_MS);
      times.push(run.firstByteMs);
    }
    return median(times);
  };
  const ours = await firstByte(VITRINE, []), theirs = await firstByte(QEMU, [...board, "-kernel", image]);
  table(["demo", "vitrine", "QEMU", "ratio"], [["first byte, s", ours / 1000, theirs / 1000, ours / theirs]]);
  results.demo = { vitrineFirstByteMs: ours, qemuFirstByteMs: theirs };
}

async function benchGdb(): Promise<void> {
  const image = here("kernels/endless.elf"), el2 = ["-M", "virt,gic-version=3,virtualization=on", "-cpu", "cortex-a57"];
  const more = [...el2, "-nic", "none", "-nographic"];
  const ours = await measureStub(VITRINE, more, image), theirs = await measureStub(QEMU, more, image);
  const row = (name: string, key: keyof GdbResult) => [name, ours[key], theirs[key], ours[key] / theirs[key]];
  table(["debugger stub", "vitrine", "QEMU", "ratio"], [
    row("memory read, MiB/s", "readMiB"),
    row("memory write, MiB/s", "writeMiB"),
    row("steps/s", "steps"),
    row("breakpoint stop, step off, continue /s", "stops"),
    row("false conditions through gdb /s", "conditions"),
    row("speed with 50 breakpoints, of undisturbed", "withBreakpoints"),
    row("speed with a watchpoint, of undisturbed", "withWatchpoint"),
  ]);
  results.gdb = { vitrine: ours, qemu: theirs };
}

async function benchNet(): Promise<void> {
  const [ours, theirs] = await measureNet([VITRINE, QEMU]) as [NetRate[], NetRate[]];
  const cells = ({ rate, busy, guestThreadUs, otherThreadsUs }: NetRate) => [
    rate.toFixed(0),
    `${Math.round(100 * busy)}%`,
    `${guestThreadUs.toFixed(0)} + ${otherThreadsUs.toFixed(0)}`,
  ];
  const rows = ours.map((our, n) => {
    const their = theirs[n]!;
    return [our.name, ...cells(our), ...cells(their), our.rate / their.rate];
  });
  table(["network", "vitrine", "busy", "host us", "QEMU", "busy", "host us", "ratio of rates"], rows);
  results.net = { vitrine: ours, qemu: theirs };
}

async function benchDisks(): Promise<void> {
  const all = await measureDisks([VITRINE, QEMU]), share = (of: number) => `${Math.round(100 * of)}%`;
  for (const [kind, [ours, theirs]] of all) {
    const rows = [...ours!].map(([name, our]) => {
      const their = theirs!.get(name)!;
      const rates = [our.rate.toFixed(0), share(our.guest), their.rate.toFixed(0), share(their.guest)];
      return [name, ...rates, (our.rate / their.rate).toFixed(2)];
    });
    table([kind, "vitrine", "guest", "QEMU", "guest", "ratio of rates"], rows);
  }
  results.disks = [...all].map(([kind, rates]) => ({ kind, rates: rates.map((of) => Object.fromEntries(of)) }));
}

const PARTS: Readonly<Record<string, () => Promise<void>>> = {
  kernels: benchKernels,
  boot: benchBoot,
  demo: benchDemo,
  gdb: benchGdb,
  net: benchNet,
  disks: benchDisks,
};
const only = String(options.only ?? "");
if (only !== "" && PARTS[only] === undefined) {
  console.error(`bench: --only takes ${Object.keys(PARTS).join(", ")}, not ${only}`);
  Deno.exit(2);
}
for (const [name, part] of Object.entries(PARTS)) if (only === "" || only === name) await part();
if (options.json) await Deno.writeTextFile(String(options.json), JSON.stringify(results, null, 1) + "\n");
