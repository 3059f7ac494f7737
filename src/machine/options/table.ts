// The option table: every option of the command line, once, with QEMU's spellings. What is not here is an error. The
// parser, `--help`, completions and the README's table are derived from it.

import { cpuModel } from "../../arch/models.ts";
import { HOST_MAP } from "../../memory/host_map.ts";
import { UsageError } from "../../base/errors.ts";
import {
  CPU_FEATURES,
  CPU_MODELS,
  type CpuFeature,
  type CpuModel,
  type IcountConfig,
  type RtcConfig,
} from "../config.ts";
import { type ChardevDraft, chardevOptions, newChardevDraft } from "./chardev.ts";
import { type DebuggerDraft, debuggerOptions, newDebuggerDraft } from "./debugger.ts";
import { type Field, field, fieldsOption, flag, type Given, type Option, option, variantsOption } from "./declare.ts";
import { type LoaderDraft, loaderDrivers, newLoaderDraft } from "./loader.ts";
import { newObserveDraft, type ObserveDraft, observeOptions } from "./observe.ts";
import { ICOUNT_FIELDS, icountOf, RTC_BASE } from "./time.ts";
import { newSemihostingDraft, type SemihostingDraft, semihostingOptions } from "./semihosting.ts";
import { newVirtioDraft, type VirtioDraft, virtioDrivers, virtioOptions } from "./virtio.ts";
import { choice, count, FILE, onOff, RAM_SIZE, type ValueKind, WORDS } from "./values.ts";

/** What the options say, before defaults. */
export interface Draft extends ObserveDraft, ChardevDraft, LoaderDraft, VirtioDraft, DebuggerDraft, SemihostingDraft {
  /** `-M virt` was said, so QEMU's defaults hold. */
  explicitBoard: boolean;
  gicVersion: 2 | 3 | null;
  virtualization: boolean | null;
  dumpDtb: string | null;
  cpuModel: CpuModel | null;
  features: { name: CpuFeature; on: boolean }[];
  cpuCount: number;
  ramSizeBytes: number | null;
  kernel: string | null;
  initrd: string | null;
  append: string | null;
  dtb: string | null;
  bios: string | null;
  noReboot: boolean;
  noShutdown: boolean;
  icount: IcountConfig | null;
  rtcBase: RtcConfig["base"];
  rtcClock: RtcConfig["clock"] | null;
  seed: number | null;
  record: string | null;
  replay: string | null;
  /** Only `linux`: fetch, print the paths, do not boot. */
  fetchOnly: boolean;
  /** Only `linux` and `xen`: the kernel that has more drivers. */
  generic: boolean;
}

export const newDraft = (): Draft => ({
  explicitBoard: false,
  gicVersion: null,
  virtualization: null,
  dumpDtb: null,
  cpuModel: null,
  features: [],
  cpuCount: 1,
  ramSizeBytes: null,
  kernel: null,
  initrd: null,
  append: null,
  dtb: null,
  bios: null,
  ...newChardevDraft(),
  ...newLoaderDraft(),
  ...newVirtioDraft(),
  noReboot: false,
  noShutdown: false,
  icount: null,
  rtcBase: "utc",
  rtcClock: null,
  seed: null,
  record: null,
  replay: null,
  ...newDebuggerDraft(),
  ...newSemihostingDraft(),
  ...newObserveDraft(),
  fetchOnly: false,
  generic: false,
});

const MACHINE_FIELDS = {
  type: field(choice("virt"), "the board"),
  "gic-version": field(choice("2", "3"), "interrupt controller (2, as QEMU's)"),
  virtualization: field(onOff, "whether the CPU has EL2"),
  accel: field(choice("tcg"), "accepted"),
  dumpdtb: field(FILE, "write the device tree to FILE and exit"),
};

function applyMachine(draft: Draft, given: Given<typeof MACHINE_FIELDS>): void {
  if (given.type !== undefined) draft.explicitBoard = true;
  if (given["gic-version"] !== undefined) draft.gicVersion = given["gic-version"] === "2" ? 2 : 3;
  if (given.virtualization !== undefined) draft.virtualization = given.virtualization;
  if (given.dumpdtb !== undefined) draft.dumpDtb = given.dumpdtb;
}

const CPU_MODEL: ValueKind<CpuModel> = choice(...(Object.keys(CPU_MODELS) as CpuModel[]));
const CPU_FIELDS: { readonly model: Field<CpuModel> } & { readonly [K in CpuFeature]: Field<boolean> } = {
  model: field(CPU_MODEL, "the core"),
  ...(Object.fromEntries(
    Object.entries(CPU_FEATURES).map(([name, { help }]) => [name, field(onOff, help)]),
  ) as { [K in CpuFeature]: Field<boolean> }),
};

function applyCpu(draft: Draft, { model, ...features }: Given<typeof CPU_FIELDS>): void {
  if (model === undefined) throw new UsageError(`needs a model: one of ${Object.keys(CPU_MODELS).join(", ")}`);
  const { has } = cpuModel(model, { el2: true, gicv3: true });
  for (const [name, on] of Object.entries(features)) {
    const missing = CPU_FEATURES[name as CpuFeature].features.some((feature) => !has(feature));
    if (on && missing) throw new UsageError(`${model} has no ${name}`);
  }
  draft.cpuModel = model;
  draft.features = Object.entries(features).map(([name, on]) => ({ name: name as CpuFeature, on: on === true }));
}

/** As many vCPUs as the layout of the shared memory has blocks for. */
const MAX_CPUS = HOST_MAP.vcpus.count;
const UP_TO_MAX = count(`1…${MAX_CPUS}`, 1, MAX_CPUS);
const SMP_FIELDS = {
  cpus: field(UP_TO_MAX, "number of CPUs"),
  maxcpus: field(UP_TO_MAX, "at least cpus; CPUs cannot be added later"),
  sockets: field(UP_TO_MAX, "with cores and threads: must multiply to the number of CPUs"),
  cores: field(UP_TO_MAX, "see sockets"),
  threads: field(UP_TO_MAX, "see sockets"),
};

function applySmp(draft: Draft, { cpus, maxcpus, sockets, cores, threads }: Given<typeof SMP_FIELDS>): void {
  const topology = sockets !== undefined || cores !== undefined || threads !== undefined;
  const product = (sockets ?? 1) * (cores ?? 1) * (threads ?? 1), number = cpus ?? (topology ? product : maxcpus ?? 1);
  const most = maxcpus ?? number;
  if (number > MAX_CPUS) throw new UsageError(`${number} CPUs are too many: ${MAX_CPUS} is the most`);
  if (most < number) throw new UsageError(`maxcpus ${most} is less than the ${number} CPUs`);
  if (topology && product !== most) {
    throw new UsageError(`sockets, cores and threads make ${product} CPUs, not ${most}`);
  }
  draft.cpuCount = number;
}

function applyIcount(draft: Draft, given: Given<typeof ICOUNT_FIELDS>): void {
  draft.icount = icountOf(given);
  const { rr, rrfile } = given;
  if ((rr === undefined) !== (rrfile === undefined)) throw new UsageError("rr and rrfile need each other");
  if (rr === "record") draft.record = rrfile!;
  if (rr === "replay") draft.replay = rrfile!;
}

const RTC_FIELDS = {
  base: field(RTC_BASE, "the time at the start (utc)"),
  clock: field(choice("host", "vm"), "what makes it go on (host; with -icount vm)"),
};

function applyRtc(draft: Draft, given: Given<typeof RTC_FIELDS>): void {
  draft.rtcBase = given.base ?? draft.rtcBase;
  draft.rtcClock = given.clock ?? draft.rtcClock;
}

export const OPTIONS: readonly Option<Draft>[] = [
  fieldsOption(
    "M machine",
    "type",
    MACHINE_FIELDS,
    "board; without it virt,gic-version=3,virtualization=on",
    applyMachine,
  ),
  fieldsOption("cpu", "model", CPU_FIELDS, "CPU model and features (cortex-a57)", applyCpu),
  fieldsOption(
    "m",
    "size",
    { size: field(RAM_SIZE, "RAM") },
    "RAM, in MiB without a unit (128M)",
    (draft: Draft, given) => {
      draft.ramSizeBytes = given.size ?? null;
    },
  ),
  fieldsOption("smp", "cpus", SMP_FIELDS, "number of CPUs", applySmp),
  option("kernel", FILE, "arm64 Image (plain or gzip), ELF or raw binary", (draft: Draft, file) => {
    draft.kernel = file;
  }),
  option("initrd", FILE, "initial RAM file system for the kernel", (draft: Draft, file) => {
    draft.initrd = file;
  }),
  option("append", WORDS, "kernel command line", (draft: Draft, words) => {
    draft.append = words;
  }),
  option("dtb", FILE, "device tree blob instead of the generated one", (draft: Draft, file) => {
    draft.dtb = file;
  }),
  option("bios", FILE, "firmware for the flash at address 0", (draft: Draft, file) => {
    draft.bios = file;
  }),
  variantsOption("device", "driver", "a device", [...loaderDrivers<Draft>(), ...virtioDrivers<Draft>()]),
  ...virtioOptions<Draft>(),
  ...chardevOptions<Draft>(),
  flag("no-reboot", "exit when the guest resets", (draft: Draft) => {
    draft.noReboot = true;
  }),
  flag("no-shutdown", "stop when the guest powers off, do not exit", (draft: Draft) => {
    draft.noShutdown = true;
  }),
  fieldsOption("icount", "shift", ICOUNT_FIELDS, "virtual time follows the instruction count", applyIcount),
  fieldsOption("rtc", "base", RTC_FIELDS, "the real-time clock", applyRtc),
  option("seed", count("N", 0, Number.MAX_SAFE_INTEGER), "seed of the guest's random numbers", (draft: Draft, seed) => {
    draft.seed = seed;
  }),
  option("record", FILE, "write every event from outside to FILE; implies -icount auto", (draft: Draft, file) => {
    draft.record = file;
  }),
  option("replay", FILE, "repeat the run that FILE recorded", (draft: Draft, file) => {
    draft.replay = file;
  }),
  option("accel", choice("tcg"), "accepted", () => {}),
  ...debuggerOptions<Draft>(),
  ...semihostingOptions<Draft>(),
  ...observeOptions<Draft>(),
  flag("help h", "this text", (draft: Draft) => {
    draft.show ??= "help";
  }),
  flag("version", "the version", (draft: Draft) => {
    draft.show ??= "version";
  }),
];

/** Options that only `deno task run linux` knows, besides all the others. */
export const LINUX_OPTIONS: readonly Option<Draft>[] = [
  flag("fetch-only", "fetch and pack, print the paths, do not boot", (draft: Draft) => {
    draft.fetchOnly = true;
  }),
  flag(
    "generic",
    "Debian's generic kernel, which has the 9p file system, not its smaller cloud kernel",
    (draft: Draft) => {
      draft.generic = true;
    },
  ),
];
