// What can be told of a transport and its device, for people and programs that look on: made from shared memory, so that
// asking changes nothing.

import { FEATURE, STATUS } from "./device.ts";
import type { VirtioMmio } from "./mmio.ts";

export interface QueueInfo {
  readonly index: number;
  readonly size: number;
  readonly ready: boolean;
  /** Free-running indices: made available by the driver as far as the device took them, given back. */
  readonly taken: number;
  readonly used: number;
  readonly inFlight: number;
  /** Head of the chain that was taken last. */
  readonly lastHead: number;
  readonly chains: number;
  readonly kicks: number;
  readonly interrupts: number;
  /** Interrupts that the driver did not want. */
  readonly suppressed: number;
}

export interface VirtioInfo {
  readonly transport: string;
  readonly device: string;
  readonly status: readonly string[];
  /** Features by name; those without a name by their bit. */
  readonly offered: readonly string[];
  readonly negotiated: readonly string[];
  readonly interruptStatus: number;
  readonly configGeneration: number;
  /** Why the device needs a reset; "" when it does not. */
  readonly broken: string;
  readonly queues: readonly QueueInfo[];
  readonly counters: Readonly<Record<string, number>>;
}

function featureNames(bits: bigint, names: Readonly<Record<string, bigint>>): string[] {
  const all = Object.entries({ ...FEATURE, ...names }), out: string[] = [];
  for (let bit = 0n; bit < 64n; bit++) {
    if ((bits >> bit & 1n) === 1n) out.push(all.find(([, value]) => value === 1n << bit)?.[0] ?? `bit ${bit}`);
  }
  return out;
}

export function virtioInfo({ name, device, state, queues, offered, broken, status }: VirtioMmio): VirtioInfo {
  const names = device.featureNames ?? {}, accepted = (status & STATUS.FEATURES_OK) !== 0 ? state.driverFeatures : 0n;
  return {
    transport: name,
    device: device.type,
    status: Object.entries(STATUS).flatMap(([word, bit]) => (status & bit) !== 0 ? [word] : []),
    offered: featureNames(offered, names),
    negotiated: featureNames(accepted, names),
    interruptStatus: state.interruptStatus,
    configGeneration: state.configGeneration,
    broken,
    queues: queues.map(({ index, state: queue }) => ({
      index,
      size: queue.size,
      ready: queue.ready !== 0,
      taken: queue.taken,
      used: queue.used,
      inFlight: queue.inFlight,
      lastHead: queue.lastHead,
      chains: queue.chains,
      kicks: queue.kicks,
      interrupts: queue.interrupts,
      suppressed: queue.suppressed,
    })),
    counters: device.counters ?? {},
  };
}

/** The same as lines of text. */
export function virtioInfoLines(info: VirtioInfo): string[] {
  const { transport, device, status, negotiated, offered, broken, queues, counters } = info;
  const refused = offered.filter((name) => !negotiated.includes(name)), table = Object.entries(counters);
  return [
    `${transport}: ${device}, ${status.join(" ") || "reset"}${broken === "" ? "" : `: ${broken}`}`,
    `  features: ${negotiated.join(" ") || "none"}${refused.length > 0 ? `; not taken: ${refused.join(" ")}` : ""}`,
    ...queues.filter(({ ready }) => ready).map((q) =>
      `  queue ${q.index}: ${q.size} entries, taken ${q.taken}, used ${q.used}, in flight ${q.inFlight}, last head ${q.lastHead}; ` +
      `${q.chains} chains, ${q.kicks} kicks, ${q.interrupts} interrupts, ${q.suppressed} not wanted`
    ),
    ...(table.length > 0 ? [`  ${table.map(([name, count]) => `${name} ${count}`).join(", ")}`] : []),
  ];
}
