// The daemon's side of -record and -replay: reads or opens the log, and fits the configuration to it. A log stands for a
// machine made of the same parts; what concerns time and chance it brings along.

import { hostWallSeconds } from "../base/clock.ts";
import { HostError, reason } from "../base/errors.ts";
import { Hash } from "../base/hash.ts";
import type { MachineConfig, MachineImages, StartMessage } from "./config.ts";
import { type LogHeader, readLog } from "./input_log.ts";
import { startOfRtc } from "./options/time.ts";

/** What the machine's Worker gets of a log, and the configuration it is started with. */
export type LogSetup = Pick<StartMessage, "config" | "logHeader" | "log">;

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
    "-drive": JSON.stringify(drives),
    "-no-reboot": String(noReboot),
  };
}

/** Reads the log to be repeated, or describes the one to be written. Throws HostError when the log does not fit. */
export async function setUpLog(config: MachineConfig, images: MachineImages): Promise<LogSetup> {
  const changed = config.drives.find(({ readOnly, snapshot }) => !readOnly && !snapshot);
  if (changed !== undefined && (config.record ?? config.replay) !== null) {
    throw new HostError(`cannot repeat a run that changes drive ${changed.id}: it needs snapshot=on or readonly=on`);
  }
  if (config.replay !== null) return await replaySetup(config, config.replay, images);
  if (config.record === null || config.icount === null) return { config, logHeader: null, log: null };
  const rtcBase = startOfRtc(config.rtc.base, Math.floor(hostWallSeconds())), seed = config.seed ?? 0;
  return {
    config: { ...config, seed, rtc: { base: rtcBase, clock: "vm" } },
    logHeader: { icount: config.icount, seed, rtcBase, machine: machineOf(config, images) },
    log: null,
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
  const different = Object.keys(ours).filter((option) => ours[option] !== machine[option]);
  if (different.length > 0) {
    throw new HostError(`cannot replay ${file}: it was recorded with another ${different.join(", ")}`);
  }
  return { config: { ...config, icount, seed, rtc: { base: rtcBase, clock: "vm" } }, logHeader: null, log };
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
