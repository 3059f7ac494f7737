// The daemon's side of one run: reads the images, makes the shared memory, starts the machine's Worker, and moves bytes
// between the channel and the host until the guest powers off, the user quits, or something fails. Sockets, files and the
// terminal live here and nowhere else.

import { NullBackend, writeAll } from "../../devices/host/character.ts";
import { sharedNowMs } from "../base/clock.ts";
import { HostError, reason } from "../base/errors.ts";
import { HOST_MAP } from "../memory/host_map.ts";
import { Channel, REQUEST } from "./channel.ts";
import { CharacterDevices } from "./chardevs.ts";
import type { MachineConfig, MachineImages, StartMessage, WorkerMessage } from "./config.ts";
import { serveDebugger } from "./debug/serve.ts";
import { readImages } from "./images.ts";
import { type LogSetup, openRecording, setUpLog, withExports } from "./log_setup.ts";
import { createNetPorts, Networks } from "./network.ts";
import { Ports, type PortsStart } from "./ports.ts";
import { InputPump, OutputPump } from "./pump.ts";
import { openStats, readStats } from "./stats.ts";

const WASM_PAGE_BYTES = 65536;
/** Flash is only there when firmware was named. */
const FLASH_BYTES = 128 * 2 ** 20;
/** How long the machine has to write the end of a recording, which says what was in memory. */
const RECORD_END_MS = 10_000;
/** How long a run that has ended waits for a reader to take the rest of the output. */
const DRAIN_MS = 2000;
/** The daemon looks at the rings this often even if no bell rings, so that a lost wake-up costs a moment, not the run. */
const WATCH_MS = 1000;

/** Exit codes of a process that a signal ended, as a shell reports them. */
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export interface DaemonOptions {
  /** The module that is the machine; tests put their own here. */
  readonly workerUrl?: URL;
  /** Lines for the user; stderr unless told otherwise. */
  readonly notice?: (line: string) => void;
}

/** The shared memory for a configuration: the fixed areas of HOST_MAP, RAM, then flash. */
export function createMemory(config: MachineConfig): WebAssembly.Memory {
  const bytes = HOST_MAP.ram.base + config.ramSizeBytes + (config.bios === null ? 0 : FLASH_BYTES);
  const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch {
    throw new HostError(`cannot reserve ${Math.ceil(bytes / 2 ** 20)} MiB of memory: the host refuses`);
  }
}

/** What ends a run: an exit code, or an error. The first one counts. */
class Outcome {
  readonly promise: Promise<number>;
  #settled = false;
  #resolve!: (code: number) => void;
  #reject!: (error: unknown) => void;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever awaits it sees the rejection; before that it must not count as unhandled.
    this.promise.catch(() => {});
  }

  get settled(): boolean {
    return this.#settled;
  }

  readonly exit = (code: number): void => {
    this.#settled = true;
    this.#resolve(code);
  };

  readonly fail = (error: unknown): void => {
    this.#settled = true;
    this.#reject(error);
  };
}

/** Things to undo when the run ends, last first. */
class Cleanup {
  readonly #steps: (() => void)[] = [];
  add(step: () => void): void {
    this.#steps.push(step);
  }
  run(): void {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) step();
  }
}

/** Runs one machine to its end and returns the program's exit code. Throws HostError for bad input. */
export async function runMachine(config: MachineConfig, options: DaemonOptions = {}): Promise<number> {
  const outcome = new Outcome(), cleanup = new Cleanup();
  const notice = options.notice ?? ((line) => console.error(`vitrine: ${line}`));
  try {
    stopOnSignals(outcome, cleanup);
    // First, since it loads the machine's code while the files are read.
    const worker = startWorker(
      options.workerUrl ?? new URL("./worker.ts", import.meta.url),
      config,
      outcome,
      cleanup,
      notice,
    );
    const images = await readImages(config);
    const logSetup = await setUpLog(config, images);
    const memory = createMemory(config);
    const channel = new Channel(memory.buffer as SharedArrayBuffer, HOST_MAP.channel.base, HOST_MAP.channel.size);
    channel.reset();
    const writeTrace = openTrace(config, cleanup);
    const startMs = performance.now();
    if (config.stats !== null) {
      // Written last, when the terminal is as it was.
      const write = openStats(config.stats);
      cleanup.add(() => write(readStats(memory.buffer, config.cpuCount, (performance.now() - startMs) / 1000)));
    }
    const recording = config.record === null ? null : openRecording(config.record);
    if (recording !== null) cleanup.add(() => recording.close());

    const characters = await openCharacters(config, outcome, cleanup, notice);
    if (characters === null) return await outcome.promise;
    const { devices } = characters, backend = devices?.attach(config.serial, config.serial) ?? new NullBackend();
    const ports = new Ports(channel, notice, outcome.fail);
    cleanup.add(() => ports.close());
    // For a device tree nobody is asked, and sizes of disks do not matter.
    const exports = config.dumpDtb === null ? logSetup.exports : Ports.none(config);
    const started = await ports.open(config, devices, exports);
    const netPorts = createNetPorts(config), networks = new Networks(notice);
    cleanup.add(() => networks.close());
    // In a replay frames come from the log, and for a device tree nothing runs.
    if (config.replay === null && config.dumpDtb === null) await networks.open(config, netPorts, channel);

    const output = new OutputPump(channel.uartOutput, channel.machineBell, (d) => backend.write(d), outcome.fail);
    const trace = new OutputPump(channel.trace, channel.machineBell, writeTrace, outcome.fail);
    const input = new InputPump(channel.uartInput, channel.machineBell, () => backend.read());
    input.run().catch(outcome.fail);
    const log = new OutputPump(
      channel.inputLog,
      channel.machineBell,
      async (d) => await recording?.write(d),
      outcome.fail,
    );
    const ready = Promise.withResolvers<boolean>();
    const serving = serveDebugger(config, images, channel, networks, ports, ready.promise, notice, outcome.fail);
    worker.postMessage(
      startMessage(withExports(logSetup, started.nbd.map(({ found }) => found)), memory, images, netPorts, started),
      transferable(images),
    );

    let workerEnded = false;
    worker.addEventListener("message", ({ data }: MessageEvent<WorkerMessage>) => {
      workerEnded ||= data.kind !== "ready" && data.kind !== "notice";
      if (data.kind === "ready") ready.resolve(true);
      channel.daemonBell.ring();
    });
    const pumps: { readonly idle: boolean; service(): void }[] = [output, trace, log, input, networks, ports];
    serving.then((debug) => {
      if (debug === null) return;
      cleanup.add(() => void debug.close());
      if (!outcome.settled) pumps.push(debug);
    }).catch(outcome.fail);
    const idle = () => !outcome.settled && pumps.every((pump) => pump.idle);
    outcome.promise.catch(() => {}).finally(() => channel.daemonBell.ring());
    while (!outcome.settled) {
      await channel.daemonBell.waitAsync(idle, WATCH_MS);
      for (const pump of pumps) pump.service();
    }
    // A recording has an end, and disks are left in order: the machine sees to that when it is told to quit.
    if ((recording !== null || config.drives.length > 0) && !workerEnded) {
      channel.request(REQUEST.QUIT);
      const limit = performance.now() + RECORD_END_MS;
      while (!workerEnded && performance.now() < limit) {
        await channel.daemonBell.waitAsync(() => !workerEnded && output.idle && log.idle && ports.idle, WATCH_MS);
        for (const pump of [output, log, ports]) pump.service();
      }
    }
    await withinTime(Promise.allSettled([output.drain(), trace.drain(), log.drain(), ports.drain()]), DRAIN_MS);
    const dropped = channel.trace.takeDropped();
    if (dropped > 0) notice(`trace: ${dropped} lines were dropped`);
    ready.resolve(false);
    const ended = serving.catch(() => null).then((debug) =>
      outcome.promise.then((code) => debug?.close(code), () => debug?.close())
    );
    await withinTime(ended, DRAIN_MS);
    return await outcome.promise;
  } finally {
    cleanup.run();
  }
}

/** Opens the character devices, if there is any need of them; null when the run ends before they are all open. */
async function openCharacters(
  config: MachineConfig,
  outcome: Outcome,
  cleanup: Cleanup,
  notice: (line: string) => void,
): Promise<{ readonly devices: CharacterDevices | null } | null> {
  // For a device tree nobody is to be waited for, and no terminal is needed.
  if (config.dumpDtb !== null) return { devices: null };
  const { escapeKey } = config;
  const devices = new CharacterDevices({ quit: () => outcome.exit(0), notice, nowMs: sharedNowMs, escapeKey });
  cleanup.add(() => devices.close());
  const opened = await Promise.race([
    devices.open(config.chardevs).then(() => true),
    outcome.promise.then(() => false),
  ]);
  return opened ? { devices } : null;
}

function stopOnSignals(outcome: Outcome, cleanup: Cleanup): void {
  for (const [signal, code] of Object.entries(SIGNAL_CODES) as [keyof typeof SIGNAL_CODES, number][]) {
    const stop = () => outcome.exit(code);
    Deno.addSignalListener(signal, stop);
    cleanup.add(() => Deno.removeSignalListener(signal, stop));
  }
}

function startWorker(
  url: URL,
  config: MachineConfig,
  outcome: Outcome,
  cleanup: Cleanup,
  notice: (line: string) => void,
): Worker {
  const worker = new Worker(url, { type: "module", name: "machine" });
  cleanup.add(() => worker.terminate());
  worker.onerror = (event) => {
    event.preventDefault();
    outcome.fail(new Error(`the machine's thread failed: ${event.message}`));
  };
  worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => {
    switch (data.kind) {
      case "ready":
        break;
      case "notice":
        notice(data.line);
        break;
      case "exit":
        outcome.exit(data.code);
        break;
      case "error":
        outcome.fail(new HostError(data.message));
        break;
      case "failure":
        outcome.fail(new Error(`the machine failed: ${data.message}`));
        break;
      case "dtb":
        writeDtb(config.dumpDtb, data.bytes).then(() => outcome.exit(0), outcome.fail);
        break;
    }
  };
  return worker;
}

const startMessage = (
  setup: LogSetup,
  memory: WebAssembly.Memory,
  images: MachineImages,
  netPorts: readonly SharedArrayBuffer[],
  ports: PortsStart,
): StartMessage => ({
  kind: "start",
  ...setup,
  memory,
  images,
  netPorts,
  ports,
});

/** The images' buffers move to the Worker instead of being copied. */
function transferable(images: MachineImages): ArrayBuffer[] {
  return [images.kernel, images.initrd, images.dtb, images.bios, ...images.demo, ...images.loaders]
    .flatMap((image) => image === null ? [] : [image.buffer as ArrayBuffer]);
}

async function writeDtb(path: string | null, bytes: Uint8Array): Promise<void> {
  if (path === null) return;
  try {
    await Deno.writeFile(path, bytes);
  } catch (error) {
    throw new HostError(`cannot write ${path}: ${reason(error)}`);
  }
}

/** Where trace lines go: `-D`'s file, or stderr. */
function openTrace(config: MachineConfig, cleanup: Cleanup): (data: Uint8Array) => Promise<void> {
  const path = config.trace.file;
  if (path === null) return (data) => writeAll(Deno.stderr, data);
  try {
    const file = Deno.openSync(path, { write: true, create: true, truncate: true });
    cleanup.add(() => file.close());
    return (data) => writeAll(file, data);
  } catch (error) {
    throw new HostError(`cannot open ${path}: ${reason(error)}`);
  }
}

async function withinTime(work: Promise<unknown>, limitMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<void>((resolve) => timer = setTimeout(resolve, limitMs));
  await Promise.race([work, limit]);
  clearTimeout(timer);
}
