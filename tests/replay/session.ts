// A machine with its run loop inside a test: built from the command's own options, with a host whose clock, typing and
// requests the test makes up. The host's time is simulated: what the machine sleeps has passed at once.

import { HostClock, InstructionClock } from "../../src/base/clock.ts";
import { seededRandom } from "../../src/base/random.ts";
import { silentTracer } from "../../src/base/trace.ts";
import type { MachineConfig, MachineImages } from "../../src/machine/config.ts";
import { createMemory } from "../../src/machine/daemon.ts";
import { readImages } from "../../src/machine/images.ts";
import { type InputGate, LiveGate, RecordingGate, ReplayingGate } from "../../src/machine/input_gate.ts";
import { type LogHeader, LogWriter, readLog } from "../../src/machine/input_log.ts";
import { Machine } from "../../src/machine/machine.ts";
import { parseCommandLine } from "../../src/machine/options.ts";
import { Runner } from "../../src/machine/runner.ts";
import { memoryHash } from "../../src/machine/state_hash.ts";

const REPEAT = new URL("../guests/repeat/repeat.elf", import.meta.url).pathname;
const MODES = { turns: 0, resets: 1, echo: 2, idle: 3 } as const;
/** Instructions between checkpoints of a recording. */
const CHECKPOINT = 50_000;
const RTC_BASE = 1_700_000_000;

/** Options for tests/guests/repeat in one of its modes. */
export const repeat = (mode: keyof typeof MODES, ...more: string[]): string[] => [
  ...["-M", "virt,gic-version=3,virtualization=on", "-kernel", REPEAT],
  ...["-device", `loader,addr=0x47ff0000,data=${MODES[mode]},data-len=4`, "-rtc", "base=2023-11-14,clock=vm"],
  ...more,
];

/** What the host does. Called before each step of the run loop. */
export type Host = (session: Session) => void;

export interface SessionParts {
  readonly host?: Host;
  readonly gate?: InputGate;
  /** Whether the shapes of hot instructions are inside the interpreter's main function. */
  readonly inline?: boolean;
}

/** Where the counters of executed handlers go when nothing is inline: in the map of code pages, beyond any RAM here. */
const PROFILE_AT = 0x00f8_0000;

export class Session {
  readonly machine: Machine;
  readonly runner: Runner;
  /** The host's milliseconds. */
  nowMs = 1000;
  sleptMs = 0;
  requests = 0;
  readonly typed: number[] = [];
  readonly #sent: number[] = [];
  readonly #host: Host;

  private constructor(readonly config: MachineConfig, images: MachineImages, parts: SessionParts) {
    const gate = parts.gate ?? new LiveGate();
    this.#host = parts.host ?? (() => {});
    const { icount, rtc } = config;
    const clock = icount === null ? new HostClock(() => this.nowMs) : new InstructionClock(icount.shift);
    const start = typeof rtc.base === "number" ? rtc.base : RTC_BASE;
    this.machine = new Machine(config, images, {
      memory: createMemory(config),
      clock,
      wallSeconds: () => start + clock.ticks() / 62_500_000,
      random: seededRandom(config.seed ?? 0),
      trace: silentTracer(),
      serial: {
        transmit: (byte) => this.#sent.push(byte) > 0,
        receive: () => gate.console(0, () => this.typed.shift() ?? -1),
      },
      ...(parts.inline === false ? { profileAt: PROFILE_AT } : {}),
    });
    this.runner = new Runner(this.machine, clock, config, gate, {
      takeRequests: () => {
        const { requests } = this;
        this.requests = 0;
        return requests;
      },
      takeArrivalMs: () => null,
      sleep: (limitMs) => {
        this.nowMs += limitMs;
        this.sleptMs += limitMs;
      },
      nowMs: () => this.nowMs,
    });
  }

  static async from(options: readonly string[], parts: SessionParts = {}): Promise<Session> {
    const command = parseCommandLine(options);
    if (command.kind !== "run") throw new Error("these options do not run a machine");
    return new Session(command.config, await readImages(command.config), parts);
  }

  /** A machine that starts with these instructions at the base of its RAM, at EL2. */
  static async withCode(words: readonly number[], options: readonly string[]): Promise<Session> {
    const start = ["-M", "virt,gic-version=3,virtualization=on", "-device", "loader,addr=0x40000000,cpu-num=0"];
    const session = await Session.from([...start, "-m", "16", ...options]);
    session.machine.bus.writeBytes(0x4000_0000, new Uint8Array(Uint32Array.from(words).buffer));
    return session;
  }

  get output(): string {
    return new TextDecoder().decode(Uint8Array.from(this.#sent));
  }

  type(text: string): void {
    this.typed.push(...new TextEncoder().encode(text));
  }

  /** Steps until `done` or the end. */
  run(done: () => boolean = () => false, limitMs = 60_000): this {
    const { lifecycle } = this.runner, end = performance.now() + limitMs;
    if (lifecycle.state === "built") lifecycle.to("running");
    while (lifecycle.state !== "ended" && !done()) {
      this.#host(this);
      this.runner.step();
      if (performance.now() > end) throw new Error(`no end, after:\n${this.output.slice(-1000)}`);
    }
    return this;
  }

  /** What two equal runs agree on. */
  get result() {
    const { retired, skippedNs } = this.machine.scheduler.state;
    return { output: this.output, retired, skippedNs, hash: memoryHash(this.machine) };
  }
}

const headerOf = ({ icount, seed }: MachineConfig): LogHeader => ({
  icount: icount!,
  seed: seed ?? 0,
  rtcBase: RTC_BASE,
  machine: {},
});

/** Runs with `host` and writes its input down. */
export async function record(options: readonly string[], host: Host): Promise<{ session: Session; log: Uint8Array }> {
  const bytes: number[] = [], command = parseCommandLine(options);
  if (command.kind !== "run") throw new Error("these options do not run a machine");
  const gate = new RecordingGate(new LogWriter((data) => bytes.push(...data), headerOf(command.config)), CHECKPOINT);
  const session = (await Session.from(options, { host, gate })).run();
  return { session, log: Uint8Array.from(bytes) };
}

/** Runs with the input of a log. */
export async function replay(options: readonly string[], log: Uint8Array, parts: SessionParts = {}): Promise<Session> {
  return (await Session.from(options, { ...parts, gate: new ReplayingGate("test", readLog("test", log)) })).run();
}
