// A whole machine inside a test: built from the command's own options, its serial port captured, and run for as long as
// the test asks. Runs on QEMU for comparison.

import { hostClock } from "../../src/base/clock.ts";
import type { TraceGroup } from "../../src/base/trace.ts";
import type { MachineConfig, MachineImages } from "../../src/machine/config.ts";
import { createMemory } from "../../src/machine/daemon.ts";
import { readImages } from "../../src/machine/images.ts";
import { Machine } from "../../src/machine/machine.ts";
import { parseCommandLine } from "../../src/machine/options.ts";
import { tracerOf } from "../../src/machine/tracing.ts";

/** Options of the machine that our guest programs are written for. */
export const BOARD = ["-M", "virt,gic-version=3,virtualization=on", "-nic", "none", "-nographic"] as const;

export const RAM_BASE = 0x4000_0000;
/** Where tests put their own code: behind the device tree, which every reset puts at the base of RAM. */
export const CODE_BASE = RAM_BASE + 0x20_0000;
const START_OPTIONS = ["-device", `loader,addr=0x${CODE_BASE.toString(16)},cpu-num=0`, "-m", "16"] as const;

export class TestMachine {
  readonly machine: Machine;
  /** Trace lines of the groups that `-d` named. */
  readonly trace: string[] = [];
  readonly #sent: number[] = [];
  readonly #typed: number[] = [];
  readonly #clock = hostClock();

  private constructor(config: MachineConfig, images: MachineImages) {
    this.machine = new Machine(config, images, {
      memory: createMemory(config),
      clock: this.#clock,
      wallSeconds: () => 1_700_000_000,
      random: (count) => new Uint8Array(count).fill(7),
      trace: tracerOf(config.trace, (line) => this.trace.push(line)),
      serial: {
        transmit: (byte) => this.#sent.push(byte) > 0,
        receive: () => this.#typed.shift() ?? -1,
      },
    });
  }

  /** The machine that these options of the command make. */
  static async from(options: readonly string[]): Promise<TestMachine> {
    const command = parseCommandLine(options);
    if (command.kind !== "run") throw new Error("these options do not run a machine");
    return new TestMachine(command.config, await readImages(command.config));
  }

  /** A machine that starts with these instructions at CODE_BASE, at EL2. */
  static withCode(words: readonly number[], traceGroups: readonly TraceGroup[] = []): TestMachine {
    const command = parseCommandLine([...BOARD, ...START_OPTIONS]);
    if (command.kind !== "run") throw new Error("these options do not run a machine");
    const config: MachineConfig = { ...command.config, trace: { ...command.config.trace, groups: traceGroups } };
    const none: MachineImages = { demo: [], kernel: null, initrd: null, dtb: null, bios: null, loaders: [null] };
    const test = new TestMachine(config, none);
    test.put(0, words);
    return test;
  }

  /** Puts instructions into RAM, `offset` bytes behind CODE_BASE. */
  put(offset: number, words: readonly number[]): void {
    this.machine.bus.writeBytes(CODE_BASE + offset, new Uint8Array(Uint32Array.from(words).buffer), true);
  }

  get output(): string {
    return new TextDecoder().decode(Uint8Array.from(this.#sent));
  }

  type(text: string): void {
    this.#typed.push(...new TextEncoder().encode(text));
  }

  /** Runs until the machine is off or `done` holds; false when neither came to pass in time. */
  runUntil(done: () => boolean, limitMs: number): boolean {
    const nap = new Int32Array(new SharedArrayBuffer(4)), end = performance.now() + limitMs;
    while (this.machine.power === "on" && !done()) {
      if (performance.now() > end) return false;
      if (!this.machine.runSlice()) Atomics.wait(nap, 0, 0, 1);
    }
    return true;
  }

  /** Runs until the guest powers off. Throws with its last words if it does not. */
  runToEnd(limitMs: number): string {
    if (!this.runUntil(() => false, limitMs) || this.machine.power !== "off") {
      const { state } = this.machine.vcpus[0]!;
      const where = `pc 0x${state.pc.toString(16)}, EL${state.el}, halt ${state.halt}`;
      throw new Error(`the guest did not power off (${where}) after:\n${this.output.slice(-2000)}`);
    }
    return this.output;
  }
}

/** Runs the same on QEMU to its end; what it says on its serial port. */
export async function runQemu(options: readonly string[], limitMs: number): Promise<string> {
  const child = new Deno.Command("qemu-system-aarch64", { args: [...options], stdin: "null", stdout: "piped" }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
  const { code, stdout } = await child.output();
  clearTimeout(timer);
  const text = new TextDecoder().decode(stdout);
  if (code !== 0) throw new Error(`QEMU ended with ${code} after:\n${text.slice(-2000)}`);
  return text;
}

/** Whether there is a QEMU to compare with. */
export async function hasQemu(): Promise<boolean> {
  const version = new Deno.Command("qemu-system-aarch64", { args: ["--version"], stdout: "null", stderr: "null" });
  return await version.output().then(({ success }) => success, () => false);
}
