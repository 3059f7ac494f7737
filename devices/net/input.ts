// How frames from outside are let into a machine: the part of its input gate that a network port sees.

export interface InputGate {
  /** Whether input comes from a log, so that nothing goes to the host or comes from it. */
  readonly replaying: boolean;
  /** Between slices: the next record for network port `port`, null when there is none now. `host` looks outside. */
  frame(port: number, host: () => Uint8Array | null): Uint8Array | null;
  /** The record that `frame` gave was taken; `host` takes it off the ring outside. */
  frameTaken(port: number, host: () => void): void;
}
