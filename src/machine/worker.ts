// The machine's thread: waits for the start message, builds the machine, and runs slices until it is off. Input, requests
// and output cross in shared rings; it sleeps on its bell when every vCPU waits.

/// <reference lib="deno.worker" />
import { COUNTER_HZ, hostClock, hostWallSeconds } from "../base/clock.ts";
import { HostError } from "../base/errors.ts";
import { Tracer } from "../base/trace.ts";
import { HOST_MAP } from "../memory/host_map.ts";
import { Channel, REQUEST } from "./channel.ts";
import type { StartMessage, WorkerMessage } from "./config.ts";
import { Machine } from "./machine.ts";

const TICKS_PER_MS = COUNTER_HZ / 1000;
/** The longest sleep, so that a lost wake-up costs a moment. */
const LONGEST_SLEEP_MS = 1000;

const tell = (message: WorkerMessage) => self.postMessage(message);

function run({ config, memory, images }: StartMessage) {
  const channel = new Channel(memory.buffer as SharedArrayBuffer, HOST_MAP.channel.base, HOST_MAP.channel.size);
  const clock = hostClock();
  const machine = new Machine(config, images, {
    memory,
    clock,
    wallSeconds: hostWallSeconds,
    random: (count) => crypto.getRandomValues(new Uint8Array(count)),
    trace: new Tracer(config.trace.groups, (line) => channel.writeTrace(line)),
    serial: {
      transmit(byte) {
        const taken = channel.uartOutput.push(byte);
        channel.daemonBell.ring();
        return taken;
      },
      receive() {
        const byte = channel.uartInput.pop();
        if (byte >= 0 && channel.uartInput.length === 0) channel.daemonBell.ring();
        return byte;
      },
    },
  });
  if (config.dumpDtb !== null) return tell({ kind: "dtb", bytes: machine.plan.deviceTree });
  tell({ kind: "ready" });
  const { uart } = machine.devices;
  const idle = () =>
    !channel.hasRequests && !(uart.canReceive && channel.uartInput.length > 0) &&
    !(uart.state.transmitCount > 0 && channel.uartOutput.space > 0);
  for (;;) {
    if (channel.hasRequests) {
      const requests = channel.takeRequests();
      if (requests & REQUEST.STOP) return tell({ kind: "exit", code: 0 });
      if (requests & REQUEST.RESET) machine.reset();
    }
    const ran = machine.runSlice();
    if (machine.power === "off" || (machine.power === "reset" && config.noReboot)) {
      return tell({ kind: "exit", code: 0 });
    }
    if (machine.power === "reset") machine.reset();
    else if (!ran) {
      const wait = (machine.nextWakeUp() - clock.ticks()) / TICKS_PER_MS;
      if (wait > 0) channel.machineBell.wait(idle, Math.min(wait, LONGEST_SLEEP_MS));
    }
  }
}

self.onmessage = (event: MessageEvent<StartMessage>) => {
  try {
    run(event.data);
  } catch (error) {
    if (error instanceof HostError) tell({ kind: "error", message: error.message });
    else tell({ kind: "failure", message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
};
