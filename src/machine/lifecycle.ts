// What a machine is doing as a whole, from being built to its end, and which way it may go from there. The guest asks for
// reset and power-off, the host for these and for stop and continue; runner.ts acts on both between slices.

import { assert } from "../base/errors.ts";

export type RunState =
  /** Built, not started. */
  | "built"
  | "running"
  /** Held by the host: its clock stands still. */
  | "stopped"
  | "resetting"
  /** The guest powered off and -no-shutdown keeps the machine: only a reset brings it back. */
  | "off"
  | "ended";

const NEXT: Readonly<Record<RunState, readonly RunState[]>> = {
  built: ["running", "stopped", "ended"],
  running: ["stopped", "resetting", "off", "ended"],
  stopped: ["running", "resetting", "ended"],
  // To what it was doing; a machine that was off stays stopped, as in QEMU, until it is told to continue.
  resetting: ["running", "stopped"],
  off: ["resetting", "ended"],
  ended: [],
};

export class Lifecycle {
  #state: RunState = "built";

  /** `changed` is told of every change, when it has happened. */
  constructor(readonly changed: (from: RunState, to: RunState) => void = () => {}) {}

  get state(): RunState {
    return this.#state;
  }

  /** Whether the machine may go to `next` now. */
  can(next: RunState): boolean {
    return NEXT[this.#state].includes(next);
  }

  to(next: RunState): void {
    const from = this.#state;
    assert(this.can(next), `a machine that is ${from} does not become ${next}`);
    this.#state = next;
    this.changed(from, next);
  }
}
