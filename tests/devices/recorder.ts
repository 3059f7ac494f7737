// What the device tests hand to a device: a line that remembers, a list of what the guest was told, memory for state.

export interface Recorder {
  readonly memory: SharedArrayBuffer;
  /** Every level the line was driven to. */
  readonly levels: boolean[];
  readonly errors: string[];
  readonly line: (level: boolean) => void;
  readonly guestErrors: (message: string) => void;
  /** The line's present level. */
  readonly level: () => boolean;
}

export function recorder(): Recorder {
  const levels: boolean[] = [], errors: string[] = [];
  return {
    memory: new SharedArrayBuffer(0x1000),
    levels,
    errors,
    line: (level) => void levels.push(level),
    guestErrors: (message) => void errors.push(message),
    level: () => levels.at(-1) ?? false,
  };
}
