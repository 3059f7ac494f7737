// The one source of time in a machine. Devices, timers and counters read this and nothing else, so that a run can be
// repeated with time that follows the instruction count.

/** Frequency of the system counter, CNTFRQ_EL0, as on QEMU's `virt`. */
export const COUNTER_HZ = 62_500_000;

export interface Clock {
  /** The system counter: a non-negative integer, monotonic, in units of 16 ns. */
  ticks(): number;
}

/** Host time: a monotonic counter that starts near 0 when it is made. */
export function hostClock(): Clock {
  const start = performance.now();
  let last = 0;
  return {
    ticks: () => last = Math.max(last, Math.floor((performance.now() - start) * (COUNTER_HZ / 1000))),
  };
}

/** Host wall time in seconds since 1970, for the real-time clock. */
export const hostWallSeconds = (): number => Math.floor(Date.now() / 1000);
