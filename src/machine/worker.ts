// The machine's thread: waits for the start message, builds the machine, and runs it to its end. Input, requests and output
// cross in shared rings; it sleeps on its bell when every vCPU waits.

/// <reference lib="deno.worker" />
import { type Clock, COUNTER_HZ, hostClock, hostWallSeconds, InstructionClock, sharedNowMs } from "../base/clock.ts";
import { assert, HostError } from "../base/errors.ts";
import { seededRandom } from "../base/random.ts";
import type { SerialBackend } from "../../devices/pl011.ts";
import { HOST_MAP } from "../memory/host_map.ts";
import { ByteRing } from "../base/ring.ts";
import { Channel } from "./channel.ts";
import type { MachineConfig, RtcConfig, StartMessage, WorkerMessage } from "./config.ts";
import { COMMAND_RING, LOOKING, REPLY_RING } from "./debug/area.ts";
import { DebugControl } from "./debug/control.ts";
import { MachinePort } from "./debug/port.ts";
import { decodeInput } from "./input_code.ts";
import { type InputGate, LiveGate, RecordingGate, ReplayingGate } from "./input_gate.ts";
import { LogWriter, readLog } from "./input_log.ts";
import { Machine } from "./machine.ts";
import { startOfRtc } from "./options/time.ts";
import { machineNetworks } from "./network.ts";
import { MachinePorts } from "./ports.ts";
import { Runner } from "./runner.ts";
import { DirectoryFiles, NO_FILES } from "./semihosting/files.ts";
import { openShares } from "./shares.ts";
import { tracerOf } from "./tracing.ts";
import { openDrives } from "./virtio.ts";

/**
 * How long a machine that is stopped looks for what its debugger wants before it sleeps: waking up takes longer than most
 * debuggers' next request, when a program asks and not a person, which is seen from how soon the last one came.
 */
const SPIN_MS = { program: 0.5, person: 0.05 } as const, SOON_MS = 1;

const tell = (message: WorkerMessage) => self.postMessage(message);

/** Seconds since 1970, as the real-time clock shows them. */
function rtcSeconds({ base, clock: source }: RtcConfig, clock: Clock): () => number {
  const now = hostWallSeconds(), start = startOfRtc(base, now);
  if (source === "vm") return () => start + clock.ticks() / COUNTER_HZ;
  return () => start + hostWallSeconds() - now;
}

function inputGate({ config, logHeader, log }: StartMessage, channel: Channel): InputGate {
  if (log !== null) {
    assert(config.replay !== null, "a log has a name");
    return new ReplayingGate(config.replay, readLog(config.replay, log));
  }
  if (logHeader === null) return new LiveGate();
  return new RecordingGate(new LogWriter((bytes) => channel.writeWhole(channel.inputLog, bytes), logHeader));
}

/**
 * The channel as the UART's other side. With time that follows instructions the guest does not see how fast the host takes
 * its output: the machine waits instead.
 */
function serialBackend(config: MachineConfig, channel: Channel, gate: InputGate): SerialBackend {
  const { uartInput, uartOutput, daemonBell } = channel, patient = config.icount !== null;
  const receive = () => {
    const byte = uartInput.pop();
    if (byte >= 0 && uartInput.length === 0) daemonBell.ring();
    return byte;
  };
  return {
    transmit(byte) {
      const taken = uartOutput.push(byte);
      if (!taken && patient) {
        channel.writeWhole(uartOutput, Uint8Array.of(byte), () => channel.quitting);
        return true;
      }
      daemonBell.ring();
      return taken;
    },
    receive: decodeInput(() => gate.console(0, receive)),
  };
}

/** The debugger's half in this thread: asked through a ring, between slices. */
function attachDebugger(runner: Runner, channel: Channel): void {
  const { machine } = runner, control = new DebugControl(machine);
  const commands = new ByteRing(channel.buffer, COMMAND_RING.base, COMMAND_RING.size);
  const looking = new Int32Array(channel.buffer, LOOKING, 2);
  const replies = new ByteRing(channel.buffer, REPLY_RING.base, REPLY_RING.size);
  const port = new MachinePort(
    control,
    commands,
    (bytes) =>
      channel.writeWhole(replies, bytes, () => channel.quitting, () => {
        if (Atomics.load(looking, 0) === 0) return true;
        Atomics.add(looking, 1, 1);
        Atomics.notify(looking, 1);
        return false;
      }),
  );
  control.run = runner;
  runner.debugger = {
    runSlice: () => {
      const ran = control.runSlice();
      port.flush();
      return ran;
    },
    service: () => port.service(),
  };
}

function run(message: StartMessage) {
  const { config, memory, images } = message;
  const channel = new Channel(memory.buffer as SharedArrayBuffer, HOST_MAP.channel.base, HOST_MAP.channel.size);
  const gate = inputGate(message, channel);
  const clock = config.icount === null ? hostClock() : new InstructionClock(config.icount.shift);
  const ports = new MachinePorts(config, message.ports, channel, gate);
  const warn = (line: string) => tell({ kind: "notice", line });
  const drives = openDrives(config.drives, warn, (drive, warn) => ports.disk(drive, warn));
  const directory = config.semihosting?.directory ?? null;
  const networks = machineNetworks(config, message.netPorts, channel, gate);
  const machine = new Machine(config, images, {
    drives,
    consoles: ports.consoles(),
    semihosting: { ...ports.semihosting(), files: directory === null ? NO_FILES : new DirectoryFiles(directory) },
    vsocks: ports.vsocks(),
    balloon: ports.balloon(memory.buffer as SharedArrayBuffer, warn),
    shares: openShares(config, gate),
    networks,
    memory,
    clock,
    wallSeconds: rtcSeconds(config.rtc, clock),
    random: config.seed === null ? (count) => crypto.getRandomValues(new Uint8Array(count)) : seededRandom(config.seed),
    trace: tracerOf(config.trace, (line) => channel.writeTrace(line)),
    serial: serialBackend(config, channel, gate),
  });
  if (config.dumpDtb !== null) return tell({ kind: "dtb", bytes: machine.plan.deviceTree });
  const { devices, devices: { uart } } = machine;
  let asker: keyof typeof SPIN_MS = "person";
  // A machine that is stopped takes no input.
  const idle = () =>
    !channel.hasRequests &&
    (runner.lifecycle.state !== "running" || (!devices.hasInput && !(uart.canReceive && channel.uartInput.length > 0) &&
      !(uart.state.transmitCount > 0 && channel.uartOutput.space > 0)));
  const runner: Runner = new Runner(machine, clock, config, gate, {
    takeRequests: () => channel.hasRequests ? channel.takeRequests() : 0,
    takeArrivalMs: () => channel.machineBell.takeRungMs(),
    sleep: (limitMs) => {
      for (const network of networks.values()) network.rest();
      if (config.debug.gdb === null || runner.lifecycle.state !== "stopped") {
        return channel.machineBell.wait(idle, limitMs);
      }
      const start = sharedNowMs();
      if (!channel.spin(SPIN_MS[asker])) channel.machineBell.wait(idle, limitMs);
      asker = sharedNowMs() - start < SOON_MS ? "program" : "person";
    },
    nowMs: sharedNowMs,
  });
  if (config.debug.gdb !== null) attachDebugger(runner, channel);
  tell({ kind: "ready" });
  runner.run();
  for (const network of networks.values()) network.rest();
  for (const drive of drives.values()) drive.close();
  tell({ kind: "exit", code: machine.exitCode ?? 0 });
}

self.onmessage = (event: MessageEvent<StartMessage>) => {
  try {
    run(event.data);
  } catch (error) {
    if (error instanceof HostError) tell({ kind: "error", message: error.message });
    else tell({ kind: "failure", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
};
