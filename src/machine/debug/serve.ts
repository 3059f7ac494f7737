// The debugger server of a run, on the daemon thread: the stub, the target it sees, and the rings to the machine's thread.

import { cpuModel } from "../../arch/models.ts";
import { ByteRing } from "../../base/ring.ts";
import { gdbAddressText } from "../../../gdbstub/address.ts";
import { type GdbServer, startGdbServer } from "../../../gdbstub/server.ts";
import { type Channel, REQUEST } from "../channel.ts";
import { featuresLeftOut, type MachineConfig, type MachineImages, type SymbolFile } from "../config.ts";
import { DEMO_SYMBOLS } from "../images.ts";
import type { Networks } from "../network.ts";
import type { Ports } from "../ports.ts";
import { COMMAND_RING, LOOKING, REPLY_RING } from "./area.ts";
import { hostCommands } from "./host_commands.ts";
import { DaemonPort } from "./port.ts";
import { isElf, SymbolFiles } from "./symbols.ts";
import { MachineTarget } from "./target.ts";

/** gdb that is told of the machine's end asks for what is left, and takes silence for an error. */
const FAREWELL_MS = 300;

export interface DebugServer {
  /** For the daemon's loop. */
  readonly idle: boolean;
  service(): void;
  /** Stops serving. With an exit code, the debugger is told that the machine has ended. */
  close(exitCode?: number): Promise<void>;
}

/** What the configuration names, and what it loads anyway. */
function symbolFiles(config: MachineConfig, images: MachineImages): readonly SymbolFile[] {
  const own = config.demo
    ? DEMO_SYMBOLS
    : config.kernel !== null && images.kernel !== null && isElf(images.kernel)
    ? [{ context: 1, vmid: null, file: config.kernel }]
    : [];
  return [...own, ...config.debug.symbols];
}

/**
 * Starts serving when the machine is ready to answer, since gdb waits two seconds for that; null when the configuration
 * names no address, or the machine never is. `images` are still whole.
 */
export async function serveDebugger(
  config: MachineConfig,
  images: MachineImages,
  channel: Channel,
  networks: Networks,
  ports: Ports,
  ready: Promise<boolean>,
  notice: (line: string) => void,
  failed: (error: unknown) => void,
): Promise<DebugServer | null> {
  const { gdb, startStopped } = config.debug, { buffer } = channel;
  if (gdb === null || config.dumpDtb !== null) return null;
  const port = new DaemonPort(
    new ByteRing(buffer, REPLY_RING.base, REPLY_RING.size),
    new ByteRing(buffer, COMMAND_RING.base, COMMAND_RING.size),
    new Int32Array(buffer, LOOKING, 2),
    () => channel.request(REQUEST.DEBUG),
  );
  const target = new MachineTarget({
    buffer,
    cpus: config.cpuCount,
    model: cpuModel(config.cpu.model, {
      el2: config.board.virtualization,
      gicv3: config.board.gicVersion === 3,
      cores: config.cpuCount,
      without: featuresLeftOut(config.cpu),
    }),
    port,
    hostCommands: hostCommands(config, networks, ports, port),
    symbols: new SymbolFiles(symbolFiles(config, images)),
    spin: () => port.spin(),
  });
  if (!await ready) return null;
  const server: GdbServer = await startGdbServer(target, gdb, { notice, failed });
  notice(`debugger: listening on ${gdbAddressText(server.address)}${startStopped ? ", the machine waits for it" : ""}`);
  return {
    get idle() {
      return port.idle;
    },
    service: () => port.service(),
    async close(exitCode) {
      if (exitCode !== undefined) target.ended(exitCode);
      if (exitCode !== undefined && server.busy) await new Promise((resolve) => setTimeout(resolve, FAREWELL_MS));
      await server.close();
    },
  };
}
