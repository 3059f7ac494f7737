// Stands in for the machine's Worker in the daemon's tests: speaks the channel, runs no guest. The kernel command line of
// the configuration says what to do.

import { Channel } from "../../src/machine/channel.ts";
import type { StartMessage, WorkerMessage } from "../../src/machine/config.ts";
import { RECEIVED_BREAK } from "../../devices/pl011.ts";
import { decodeInput } from "../../src/machine/input_code.ts";
import { HOST_MAP } from "../../src/memory/host_map.ts";

const tell = (message: WorkerMessage) => self.postMessage(message);

/** Sends the input back until it ends; a break as "<break>". */
function echo(channel: Channel): void {
  const next = decodeInput(() => channel.uartInput.pop());
  while (true) {
    const closed = channel.uartInput.closed, limit = channel.uartOutput.space - 7, bytes: number[] = [];
    for (let byte = 0; bytes.length < limit && (byte = next()) >= 0;) {
      bytes.push(...(byte === RECEIVED_BREAK ? new TextEncoder().encode("<break>") : [byte]));
    }
    channel.uartOutput.write(Uint8Array.from(bytes));
    channel.daemonBell.ring();
    if (bytes.length > 0) continue;
    if (closed && channel.uartInput.length === 0) return;
    channel.machineBell.wait(
      () => (channel.uartInput.length === 0 && !channel.uartInput.closed) || channel.uartOutput.space < 8,
      100,
    );
  }
}

/** Sends `total` bytes, each the low byte of its position, as fast as they are taken. */
function flood(channel: Channel, total: number): void {
  for (let sent = 0; sent < total;) {
    const block = Uint8Array.from({ length: Math.min(10_000, total - sent) }, (_, n) => sent + n);
    sent += channel.uartOutput.write(block);
    channel.daemonBell.ring();
    channel.machineBell.wait(() => channel.uartOutput.space === 0, 1000);
  }
}

self.onmessage = ({ data: { config, memory, images } }: MessageEvent<StartMessage>) => {
  const channel = new Channel(memory.buffer as SharedArrayBuffer, HOST_MAP.channel.base, HOST_MAP.channel.size);
  const [task, argument] = (config.append ?? "").split(" ");
  switch (task) {
    case "echo":
      echo(channel);
      return tell({ kind: "exit", code: 3 });
    case "greet":
      channel.uartOutput.write(new TextEncoder().encode("READY\n"));
      channel.daemonBell.ring();
      echo(channel);
      return tell({ kind: "exit", code: 3 });
    case "flood":
      flood(channel, Number(argument));
      return tell({ kind: "exit", code: 0 });
    case "size":
      return tell({ kind: "exit", code: images.kernel!.length });
    case "trace":
      for (let n = 0; n < Number(argument); n++) channel.writeTrace(`line ${n}`);
      return tell({ kind: "exit", code: 0 });
    case "dtb":
      return tell({ kind: "dtb", bytes: Uint8Array.of(0xd0, 0x0d) });
    case "error":
      return tell({ kind: "error", message: "cannot load it: no reason" });
    case "throw":
      throw new Error("a bug");
    case "hang":
      while (true) channel.machineBell.wait(() => true, 1000);
  }
};
