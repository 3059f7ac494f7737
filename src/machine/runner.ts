// The run loop: takes what the host asks for, runs slices, and lets time pass while all vCPUs wait. It acts on the guest's
// wish to be reset or switched off, and on the host's, between slices only.

import { COUNTER_HZ, InstructionClock, type MachineClock, TICK_NS } from "../base/clock.ts";
import { REQUEST } from "./channel.ts";
import type { MachineConfig } from "./config.ts";
import type { InputGate } from "./input_gate.ts";
import { Lifecycle } from "./lifecycle.ts";
import type { Machine } from "./machine.ts";

const TICKS_PER_MS = COUNTER_HZ / 1000, NS_PER_MS = 1e6;
/** The longest sleep, so that a lost wake-up costs a moment. */
const LONGEST_SLEEP_MS = 1000;
/** What is left of a sleep when it is as good as over. */
const SHORTEST_SLEEP_MS = 0.001;
/** A guest whose time follows instructions makes up for at most this much oversleeping. */
const LONGEST_DEBT_MS = 100;

/** The host's side of the loop. */
export interface Outside {
  /** REQUEST bits since the last call. */
  takeRequests(): number;
  /** When input last arrived, on the clock of `nowMs`; null if none did since the last call. */
  takeArrivalMs(): number | null;
  /** Sleeps until something happens outside that concerns the machine, at most `limitMs`. */
  sleep(limitMs: number): void;
  nowMs(): number;
}

/** The debugger, while there is one. */
export interface RunnerDebugger {
  /** Something has been asked for. */
  service(): void;
  /** As the machine's, with what the debugger wants of it. */
  runSlice(): boolean;
}

export class Runner {
  debugger: RunnerDebugger | null = null;
  readonly lifecycle: Lifecycle = new Lifecycle((_, to) => this.#changed(to));
  readonly #icount: { readonly clock: InstructionClock; readonly sleep: boolean } | null;
  /** How much later than asked for the last sleeps ended. */
  #oversleptMs = 0;

  constructor(
    readonly machine: Machine,
    readonly clock: MachineClock,
    readonly config: Pick<MachineConfig, "icount" | "noReboot" | "noShutdown"> & Partial<Pick<MachineConfig, "debug">>,
    readonly gate: InputGate,
    readonly outside: Outside,
  ) {
    const { icount } = config;
    this.#icount = icount !== null && clock instanceof InstructionClock ? { clock, sleep: icount.sleep } : null;
    clock.stop();
    gate.attach(machine);
  }

  /** Runs to the end. */
  run(): void {
    const first = this.config.debug?.startStopped ? "stopped" : "running";
    if (this.lifecycle.state === "built") this.lifecycle.to(first);
    while (this.lifecycle.state !== "ended") this.step();
  }

  /** Takes requests, then runs one slice or waits. */
  step(): void {
    const { lifecycle, gate, outside, machine } = this;
    if (lifecycle.state === "running") gate.boundary();
    this.#act(gate.requests(outside.takeRequests()));
    // Written so that the compiler does not take the state for what it was.
    switch (lifecycle.state) {
      case "running":
        break;
      case "off":
        // In a replay nobody else will bring it back.
        if (gate.replaying) return this.#end("OFF");
        return outside.sleep(LONGEST_SLEEP_MS);
      case "stopped":
        return outside.sleep(LONGEST_SLEEP_MS);
      default:
        return;
    }
    const arrived = outside.takeArrivalMs();
    if (arrived !== null) machine.scheduler.hostEvent(arrived, outside.nowMs);
    const ran = (this.debugger ?? machine).runSlice();
    if (machine.power === "on") {
      if (!ran) this.#wait();
    } else if (machine.power === "reset" && !this.config.noReboot) this.#reset();
    else if (this.config.noShutdown && machine.exitCode === null) lifecycle.to("off");
    else this.#end("OFF");
  }

  #act(requests: number): void {
    if (requests === 0) return;
    const { lifecycle } = this;
    if ((requests & REQUEST.QUIT) !== 0) return this.#end("QUIT");
    if ((requests & REQUEST.RESET) !== 0) this.#reset();
    if ((requests & REQUEST.STOP) !== 0 && lifecycle.state === "running") lifecycle.to("stopped");
    if ((requests & REQUEST.CONTINUE) !== 0 && lifecycle.state === "stopped") lifecycle.to("running");
    if ((requests & REQUEST.DEBUG) !== 0) this.debugger?.service();
  }

  // What the debugger may do, between slices and at the end of one.

  get running(): boolean {
    return this.lifecycle.state === "running";
  }
  halt(): void {
    if (this.lifecycle.state === "running") this.lifecycle.to("stopped");
  }
  proceed(): void {
    if (this.lifecycle.state === "stopped") this.lifecycle.to("running");
  }
  reset(): void {
    if (this.lifecycle.can("resetting")) this.#reset();
  }
  quit(): void {
    if (this.lifecycle.can("ended")) this.#end("QUIT");
  }

  #reset(): void {
    const { lifecycle } = this, { state } = lifecycle;
    lifecycle.to("resetting");
    this.machine.reset();
    lifecycle.to(state === "running" ? "running" : "stopped");
  }

  #end(reason: "OFF" | "QUIT"): void {
    this.gate.end(reason);
    this.lifecycle.to("ended");
  }

  #changed(to: string): void {
    if (to === "running") this.clock.start();
    else if (to !== "resetting") this.clock.stop();
  }

  /** All vCPUs wait: until a timer is due, or something happens outside. */
  #wait(): void {
    const { machine, outside, clock } = this, icount = this.#icount, due = machine.nextWakeUp();
    if (icount === null) {
      const waitMs = (due - clock.ticks()) / TICKS_PER_MS;
      if (waitMs > 0) outside.sleep(Math.min(waitMs, LONGEST_SLEEP_MS));
      return;
    }
    const { scheduler } = machine;
    const passNs = this.gate.waiting(scheduler.skippedNs + Math.max(0, due * TICK_NS - icount.clock.ns()));
    if (passNs !== null) scheduler.skippedNs = passNs;
    else if (icount.sleep) this.#sleepThrough(icount.clock, due);
    else if (due !== Infinity) icount.clock.skipTo(due);
    else outside.sleep(LONGEST_SLEEP_MS);
  }

  /** Sleeps for as long as virtual time has to pass, or as much of it as passes before something happens outside. */
  #sleepThrough(clock: InstructionClock, due: number): void {
    const { outside, machine: { scheduler } } = this, start = outside.nowMs();
    const waitMs = due === Infinity ? Infinity : Math.max(0, (due * TICK_NS - clock.ns()) / NS_PER_MS);
    const owed = Math.min(this.#oversleptMs, waitMs), sleepMs = Math.min(waitMs - owed, LONGEST_SLEEP_MS);
    if (sleepMs > 0) outside.sleep(sleepMs);
    const passedMs = outside.nowMs() - start + owed;
    if (passedMs + SHORTEST_SLEEP_MS < waitMs) {
      this.#oversleptMs -= owed;
      scheduler.skippedNs += Math.floor(passedMs * NS_PER_MS);
      return;
    }
    this.#oversleptMs = Math.max(0, Math.min(this.#oversleptMs - owed + passedMs - waitMs, LONGEST_DEBT_MS));
    clock.skipTo(due);
  }
}
