// Power State Coordination Interface 1.1 (Arm DEN 0022D) and the SMC Calling Convention's own calls (DEN 0028): what an
// HVC or SMC with a function number in X0 does. Acts on the CPUs through an interface; which conduit is open is the
// caller's business. Left out: SYSTEM_RESET2, SYSTEM_SUSPEND, the statistics; powering down in CPU_SUSPEND is standby,
// as PSCI allows.

/** A CPU as PSCI sees it. */
export interface PsciCpu {
  readonly index: number;
  /** Affinity fields of MPIDR_EL1. */
  readonly mpidr: number;
  readonly isOn: boolean;
  /** Starts at `entry` (a physical address) with `contextId` in X0, in the state after reset. */
  turnOn(entry: bigint, contextId: bigint): void;
  turnOff(): void;
  /** Standby until an interrupt, as WFI. */
  suspend(): void;
}

export interface PsciHost {
  readonly cpus: readonly PsciCpu[];
  systemOff(): void;
  systemReset(): void;
}

/** Return codes. */
export const PSCI_RETURN = {
  SUCCESS: 0,
  NOT_SUPPORTED: -1,
  INVALID_PARAMETERS: -2,
  DENIED: -3,
  ALREADY_ON: -4,
  INVALID_ADDRESS: -9,
} as const;

const VERSION_1_1 = 0x1_0001;
const AFFINITY = { ON: 0, OFF: 1 } as const;
/** No Trusted OS, or one that needs no migration. */
const MIGRATION_NOT_REQUIRED = 2;
/** ARCH_FEATURES' answer for a workaround that may be called and is not needed: nothing here speculates. */
const WORKAROUND_NOT_NEEDED = 1, WORKAROUND_2_NOT_REQUIRED = -2;
/** Affinity fields of MPIDR_EL1. */
const AFFINITY_MASK = 0xff_00ff_ffffn;
/** Bits of CPU_SUSPEND's power_state, original format, that must be zero. */
const POWER_STATE_RESERVED = 0xfcfe_0000;

interface Call {
  readonly host: PsciHost;
  readonly caller: PsciCpu;
  /** X1 to X3, cut to 32 bits for the 32-bit forms. */
  readonly args: readonly [bigint, bigint, bigint];
}

/** The result for X0; undefined when the caller does not continue. */
type Handler = (call: Call) => number | undefined;

interface Function {
  readonly name: string;
  /** Function number of the 32-bit form. */
  readonly id: number;
  /** Whether there is a 64-bit form, at id | 0x4000_0000. */
  readonly has64?: boolean;
  readonly handle: Handler;
  /** What ARCH_FEATURES says, for the SMC Calling Convention's own functions. */
  readonly archFeature?: number;
}

const SMC64 = 0x4000_0000;
const ok = PSCI_RETURN.SUCCESS, notSupported = PSCI_RETURN.NOT_SUPPORTED;

const FUNCTIONS: readonly Function[] = [
  { name: "PSCI_VERSION", id: 0x8400_0000, handle: () => VERSION_1_1 },
  { name: "CPU_SUSPEND", id: 0x8400_0001, has64: true, handle: cpuSuspend },
  {
    name: "CPU_OFF",
    id: 0x8400_0002,
    handle: ({ caller }) => {
      caller.turnOff();
      return undefined;
    },
  },
  { name: "CPU_ON", id: 0x8400_0003, has64: true, handle: cpuOn },
  { name: "AFFINITY_INFO", id: 0x8400_0004, has64: true, handle: affinityInfo },
  { name: "MIGRATE_INFO_TYPE", id: 0x8400_0006, handle: () => MIGRATION_NOT_REQUIRED },
  {
    name: "SYSTEM_OFF",
    id: 0x8400_0008,
    handle: ({ host }) => {
      host.systemOff();
      return undefined;
    },
  },
  {
    name: "SYSTEM_RESET",
    id: 0x8400_0009,
    handle: ({ host }) => {
      host.systemReset();
      return undefined;
    },
  },
  {
    name: "PSCI_FEATURES",
    id: 0x8400_000a,
    handle: ({ args }) => {
      const asked = BY_ID.get(Number(args[0] & 0xffff_ffffn));
      return asked !== undefined && asked.archFeature === undefined || asked?.name === "SMCCC_VERSION"
        ? ok
        : notSupported;
    },
  },
  { name: "SMCCC_VERSION", id: 0x8000_0000, archFeature: ok, handle: () => VERSION_1_1 },
  {
    name: "SMCCC_ARCH_FEATURES",
    id: 0x8000_0001,
    archFeature: ok,
    handle: ({ args }) => BY_ID.get(Number(args[0] & 0xffff_ffffn))?.archFeature ?? notSupported,
  },
  { name: "SMCCC_ARCH_WORKAROUND_1", id: 0x8000_8000, archFeature: WORKAROUND_NOT_NEEDED, handle: () => ok },
  { name: "SMCCC_ARCH_WORKAROUND_2", id: 0x8000_7fff, archFeature: WORKAROUND_2_NOT_REQUIRED, handle: () => ok },
  { name: "SMCCC_ARCH_WORKAROUND_3", id: 0x8000_3fff, archFeature: WORKAROUND_NOT_NEEDED, handle: () => ok },
];

const BY_ID: ReadonlyMap<number, Function> = new Map(
  FUNCTIONS.flatMap((f): [number, Function][] => f.has64 ? [[f.id, f], [(f.id | SMC64) >>> 0, f]] : [[f.id, f]]),
);

/** Name of function `id`, for traces. */
export const psciName = (id: number): string => BY_ID.get(id >>> 0)?.name ?? `0x${(id >>> 0).toString(16)}`;

/**
 * Does the call that CPU number `cpu` makes with function `id` (W0) and `args` (X1 to X3). Returns the value for X0 (to be
 * sign-extended), or undefined when the caller does not continue. An unknown function answers NOT_SUPPORTED.
 */
export function psciCall(
  host: PsciHost,
  cpu: number,
  id: number,
  args: readonly [bigint, bigint, bigint],
): number | undefined {
  const called = BY_ID.get(id >>> 0), caller = host.cpus[cpu];
  if (called === undefined || caller === undefined) return notSupported;
  const width = (id & SMC64) !== 0 ? 64 : 32;
  const [a, b, c] = args;
  return called.handle({
    host,
    caller,
    args: [BigInt.asUintN(width, a), BigInt.asUintN(width, b), BigInt.asUintN(width, c)],
  });
}

const cpuAt = (host: PsciHost, target: bigint): PsciCpu | undefined =>
  (target & ~AFFINITY_MASK) !== 0n ? undefined : host.cpus.find((c) => BigInt(c.mpidr) === target);

function cpuOn({ host, args: [target, entry, contextId] }: Call): number {
  const cpu = cpuAt(host, target);
  if (cpu === undefined) return PSCI_RETURN.INVALID_PARAMETERS;
  if (cpu.isOn) return PSCI_RETURN.ALREADY_ON;
  if ((entry & 3n) !== 0n) return PSCI_RETURN.INVALID_ADDRESS;
  cpu.turnOn(entry, contextId);
  return ok;
}

function cpuSuspend({ caller, args: [powerState] }: Call): number {
  if ((Number(powerState & 0xffff_ffffn) & POWER_STATE_RESERVED) !== 0) return PSCI_RETURN.INVALID_PARAMETERS;
  caller.suspend();
  return ok;
}

function affinityInfo({ host, args: [target, level] }: Call): number {
  if (level > 3n) return PSCI_RETURN.INVALID_PARAMETERS;
  if (level > 0n) {
    // A group is on when one of its CPUs is.
    const shift = [0n, 8n, 16n, 32n][Number(level)]!;
    const group = host.cpus.filter((c) => BigInt(c.mpidr) >> shift === (target & AFFINITY_MASK) >> shift);
    if (group.length === 0) return PSCI_RETURN.INVALID_PARAMETERS;
    return group.some((c) => c.isOn) ? AFFINITY.ON : AFFINITY.OFF;
  }
  const cpu = cpuAt(host, target);
  if (cpu === undefined) return PSCI_RETURN.INVALID_PARAMETERS;
  return cpu.isOn ? AFFINITY.ON : AFFINITY.OFF;
}
