// The daemon's side of -record and -replay: reads or opens the log, and fits the configuration to it. A log stands for a
// machine made of the same parts; what concerns time and chance it brings along.

import { hostWallSeconds } from "../base/clock.ts";
import { HostError, reason } from "../base/errors.ts";
import { Hash } from "../base/hash.ts";
import type { NbdExport } from "../../devices/host/nbd_protocol.ts";
import type { DriveConfig, MachineConfig, MachineImages, StartMessage } from "./config.ts";
import { type LogHeader, readLog } from "./input_log.ts";
import { startOfRtc } from "./options/time.ts";

/** What the machine's Worker gets of a log, and the configuration it is started with. */
export type LogSetup = Pick<StartMessage, "config" | "logHeader" | "log"> & {
  /** In a replay: what the servers of disks said when it was recorded. */
  readonly exports: readonly NbdExport[] | null;
};

const hashOf = (image: Uint8Array | null) => image === null ? "none" : new Hash().bytes(image).hex;

/** What the guest can see of its machine, by the option that says it. */
function machineOf(config: MachineConfig, images: MachineImages): LogHeader["machine"] {
  const { board, cpu, cpuCount, ramSizeBytes, append, demo, loaders, noReboot, virtio, drives } = config;
  return {
    "-M": JSON.stringify(board),
    "-cpu": JSON.stringify(cpu),
    "-smp": String(cpuCount),
    "-m": String(ramSizeBytes),
    "-append": append ?? "",
    "-kernel": demo ? images.demo.map(hashOf).join() : hashOf(images.kernel),
    "-initrd": hashOf(images.initrd),
    "-dtb": hashOf(images.dtb),
    "-bios": hashOf(images.bios),
    "-device": loaders.map((loader, n) =>
      JSON.stringify("file" in loader ? { ...loader, file: hashOf(images.loaders[n] ?? null) } : loader)
    ).join(),
    "-device virtio": JSON.stringify(virtio),
    "-drive": drives.map(driveOf).join(),
    "-no-reboot": String(noReboot),
    // Logs of machines without it are as they were before there was any.
    ...(config.semihosting === null
      ? {}
      : { "-semihosting-config": JSON.stringify({ ...config.semihosting, chardev: null }) }),
  };
}

/** Bytes at the beginning of a disk by which it is known. */
const DISK_START_BYTES = 2 ** 20;
const EXPORTS = "nbd exports";

/** A disk as the log knows it: what is on a server comes from there, so that the log has it. */
function driveOf(drive: DriveConfig): string {
  const { id, source, format, readOnly, discard, writeBack } = drive;
  const said = { id, format, readOnly, discard, writeBack };
  if (source.kind === "nbd") return JSON.stringify({ ...said, source });
  const start = new Uint8Array(DISK_START_BYTES);
  try {
    const file = Deno.openSync(source.path), count = file.readSync(start) ?? 0, sizeBytes = file.statSync().size;
    file.close();
    return JSON.stringify({ ...said, sizeBytes, start: hashOf(start.subarray(0, count)) });
  } catch {
    // Whoever opens it for the machine says why that cannot be.
    return JSON.stringify(said);
  }
}

/** A recording's header with what the servers of disks have said. */
export function withExports(setup: LogSetup, exports: readonly NbdExport[]): LogSetup {
  const { logHeader } = setup;
  if (logHeader === null || exports.length === 0) return setup;
  return {
    ...setup,
    logHeader: { ...logHeader, machine: { ...logHeader.machine, [EXPORTS]: JSON.stringify(exports) } },
  };
}

function exportsOf(file: string, text: string | undefined): NbdExport[] {
  if (text === undefined) return [];
  try {
    const exports = JSON.parse(text) as NbdExport[];
    const numbers = exports.flatMap((
      { sizeBytes, flags, blocks: { least, preferred, most } },
    ) => [sizeBytes, flags, least, preferred, most]);
    if (numbers.every((number) => Number.isSafeInteger(number) && number >= 0)) return exports;
  } catch { /* As if it were not JSON at all. */ }
  throw new HostError(`cannot replay ${file}: what it says of disks on servers makes no sense`);
}

/** Reads the log to be repeated, or describes the one to be written. Throws HostError when the log does not fit. */
export async function setUpLog(config: MachineConfig, images: MachineImages): Promise<LogSetup> {
  const changed = config.drives.find(({ source, readOnly, snapshot }) =>
    source.kind === "file" && !readOnly && !snapshot
  );
  if (changed !== undefined && (config.record ?? config.replay) !== null) {
    throw new HostError(`cannot repeat a run that changes drive ${changed.id}: it needs snapshot=on or readonly=on`);
  }
  if (config.replay !== null) return await replaySetup(config, config.replay, images);
  if (config.record === null || config.icount === null) return { config, logHeader: null, log: null, exports: null };
  const rtcBase = startOfRtc(config.rtc.base, Math.floor(hostWallSeconds())), seed = config.seed ?? 0;
  return {
    config: { ...config, seed, rtc: { base: rtcBase, clock: "vm" } },
    logHeader: { icount: config.icount, seed, rtcBase, machine: machineOf(config, images) },
    log: null,
    exports: null,
  };
}

async function replaySetup(config: MachineConfig, file: string, images: MachineImages): Promise<LogSetup> {
  let log: Uint8Array;
  try {
    log = await Deno.readFile(file);
  } catch (error) {
    throw new HostError(`cannot replay ${file}: ${reason(error)}`);
  }
  const { icount, seed, rtcBase, machine } = readLog(file, log).header, ours = machineOf(config, images);
  const options = new Set([...Object.keys(ours), ...Object.keys(machine)].filter((option) => option !== EXPORTS));
  const different = [...options].filter((option) => ours[option] !== machine[option]);
  if (different.length > 0) {
    throw new HostError(`cannot replay ${file}: it was recorded with another ${different.join(", ")}`);
  }
  const exports = exportsOf(file, machine[EXPORTS]), rtc = { base: rtcBase, clock: "vm" } as const;
  return { config: { ...config, icount, seed, rtc }, logHeader: null, log, exports };
}

/** Opens the file of a recording for the bytes that the machine sends. */
export function openRecording(file: string): { write(data: Uint8Array): Promise<void>; close(): void } {
  try {
    const opened = Deno.openSync(file, { write: true, create: true, truncate: true });
    return {
      async write(data) {
        for (let rest = data; rest.length > 0;) rest = rest.subarray(await opened.write(rest));
      },
      close: () => opened.close(),
    };
  } catch (error) {
    throw new HostError(`cannot record to ${file}: ${reason(error)}`);
  }
}
