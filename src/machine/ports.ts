// Streams between the machine's virtio devices and the daemon, other than networks: disks on NBD servers, ports of
// consoles, sockets of the host, and what is wanted of a memory balloon. Each has a record port in shared memory; what
// comes through it passes the machine's input gate.

import { CONSOLE_RING_BYTES, ConsoleEnd, ConsoleLink } from "../../devices/host/console_link.ts";
import { NbdBackend } from "../../devices/host/nbd.ts";
import { NbdLink } from "../../devices/host/nbd_link.ts";
import type { NbdExport } from "../../devices/host/nbd_protocol.ts";
import { MachineLink, RecordPort } from "../../devices/host/record_port.ts";
import { VsockEnd } from "../../devices/host/vsock.ts";
import { openPageRelease, type ReleasePages } from "../../devices/host/page_release.ts";
import type { BalloonBackend } from "../../devices/virtio/balloon.ts";
import type { BlockBackend } from "../../devices/virtio/block_backend.ts";
import type { PortBackend } from "../../devices/virtio/console_backend.ts";
import type { VsockBackend } from "../../devices/virtio/vsock.ts";
import { sharedNowMs } from "../base/clock.ts";
import { semihostingBackend, semihostingStreams } from "./semihosting/streams.ts";
import { EndMarked } from "./semihosting/console.ts";
import { assert, HostError } from "../base/errors.ts";
import type { Channel } from "./channel.ts";
import type { CharacterDevices } from "./chardevs.ts";
import type { ConsolePortConfig, DriveConfig, MachineConfig, VirtioConfig } from "./config.ts";
import type { InputGate } from "./input_gate.ts";

/** Numbers of ports in the input log; networks have those below. */
const FIRST_NBD = 64, FIRST_CONSOLE = 128, FIRST_VSOCK = 192, FIRST_SEMIHOSTING = 240, BALLOON = 255;
const NBD_RING_BYTES = 2 ** 20, VSOCK_RING_BYTES = 2 ** 19, BALLOON_RING_BYTES = 4096;
/** How long a machine whose time follows instructions waits for the host to take output. */
const PATIENCE_MS = 2000;

/** The disks on servers, in the configuration's order. */
const nbdDrives = ({ drives }: MachineConfig) =>
  drives.flatMap((drive) => drive.source.kind === "nbd" ? [{ ...drive, source: drive.source }] : []);
/** The ports of all consoles, in the devices' order. */
export const consolePorts = ({ virtio }: MachineConfig): ConsolePortConfig[] =>
  virtio.flatMap((device) => device.kind === "serial" ? device.ports : []);

/** The devices of one kind, in their order. */
function devicesOf<K extends VirtioConfig["kind"]>({ virtio }: MachineConfig, kind: K) {
  return virtio.filter((device): device is VirtioConfig & { kind: K } => device.kind === kind);
}

/** What the machine's thread is told of the ports. */
export interface PortsStart {
  readonly nbd: readonly { readonly memory: SharedArrayBuffer; readonly found: NbdExport }[];
  readonly consoles: readonly SharedArrayBuffer[];
  readonly semihosting: readonly SharedArrayBuffer[];
  readonly vsocks: readonly SharedArrayBuffer[];
  readonly balloon: SharedArrayBuffer;
}

/** The daemon's sides. */
export class Ports {
  readonly #links: NbdLink[] = [];
  readonly #ends: ConsoleEnd[] = [];
  readonly #vsocks: VsockEnd[] = [];
  readonly #balloonMemory = RecordPort.create(BALLOON_RING_BYTES);
  #closed = false;

  constructor(
    private readonly channel: Channel,
    private readonly notice: (line: string) => void,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** In place of what servers say, where nobody asks. */
  static none(config: MachineConfig): NbdExport[] {
    const blocks = { least: 512, preferred: 4096, most: 2 ** 20 };
    return nbdDrives(config).map(() => ({ sizeBytes: 2 ** 20, flags: 0, structured: false, blocks }));
  }

  /**
   * Connects to all servers and attaches the consoles. With `recorded` this is a replay: that is what the servers said
   * when it was recorded, and nobody is asked. Throws HostError.
   */
  async open(
    config: MachineConfig,
    devices: CharacterDevices | null,
    recorded: readonly NbdExport[] | null,
  ): Promise<PortsStart> {
    const wake = () => this.channel.machineBell.ring(), nbd: { memory: SharedArrayBuffer; found: NbdExport }[] = [];
    for (const [index, { id, source, reconnectDelayMs }] of nbdDrives(config).entries()) {
      const memory = RecordPort.create(NBD_RING_BYTES), said = recorded?.[index];
      if (said !== undefined) {
        nbd.push({ memory, found: said });
        continue;
      }
      const options = { ...source, patienceMs: reconnectDelayMs },
        warn = (line: string) => this.notice(`${id}: ${line}`);
      const link = await NbdLink.open(new RecordPort(memory), wake, options, warn);
      this.#links.push(link);
      nbd.push({ memory, found: link.found });
      // The run ended while this one was being opened.
      if (this.#closed) link.close();
    }
    const consoles = consolePorts(config).map(({ chardev }) => {
      const memory = RecordPort.create(CONSOLE_RING_BYTES);
      if (devices !== null) {
        const backend = devices.attach(chardev, chardev);
        this.#ends.push(new ConsoleEnd(new RecordPort(memory), backend, wake, this.failed));
      }
      return memory;
    });
    const semihosting = semihostingStreams(config).map((stream) => {
      const memory = RecordPort.create(CONSOLE_RING_BYTES);
      if (devices !== null) {
        const backend = new EndMarked(semihostingBackend(config, devices, stream));
        this.#ends.push(new ConsoleEnd(new RecordPort(memory), backend, wake, this.failed));
      }
      return memory;
    });
    const vsocks: SharedArrayBuffer[] = [];
    for (const { guestCid, path } of devicesOf(config, "vsock")) {
      const memory = RecordPort.create(VSOCK_RING_BYTES);
      vsocks.push(memory);
      // In a replay packets come from the log, and for a device tree nothing runs.
      if (config.replay !== null || config.dumpDtb !== null) continue;
      const end = await VsockEnd.open({ port: new RecordPort(memory), wake, path, guestCid });
      this.#vsocks.push(end);
      if (this.#closed) end.close();
    }
    return { nbd, consoles, semihosting, vsocks, balloon: this.#balloonMemory };
  }

  /** Tells the balloon of `word`; false when it has not heard what it was told before. */
  tellBalloon(word: number): boolean {
    const told = new RecordPort(this.#balloonMemory).toGuest.push(new Uint8Array(Uint32Array.of(word).buffer));
    this.channel.machineBell.ring();
    return told;
  }

  get idle(): boolean {
    return [this.#links, this.#ends, this.#vsocks].every((all) => all.every(({ idle }) => idle));
  }
  service(): void {
    for (const link of this.#links) link.service();
    for (const end of this.#ends) end.service();
    for (const end of this.#vsocks) end.service();
  }
  /** Resolves when everything that the guest has sent to consoles is with the host. */
  async drain(): Promise<void> {
    await Promise.all(this.#ends.map((end) => end.drain()));
  }

  /** One line for each server, for the monitor. */
  info(): string[] {
    return this.#links.map(({ name, state }) => `${name}: ${state}`);
  }
  /** One line for each way to a guest's sockets. */
  vsockInfo(): string[] {
    return this.#vsocks.map(({ name, state }) => `${name}: ${state}`);
  }

  close(): void {
    this.#closed = true;
    for (const link of this.#links) link.close();
    for (const end of this.#ends) end.close();
    for (const end of this.#vsocks) end.close();
  }
}

/** The machine's sides. */
export class MachinePorts {
  readonly #config: MachineConfig;
  readonly #start: PortsStart;

  constructor(
    config: MachineConfig,
    start: PortsStart,
    private readonly channel: Channel,
    private readonly gate: InputGate,
  ) {
    this.#config = config;
    this.#start = start;
  }

  /** The disk of a drive that is on a server. */
  disk(drive: DriveConfig, warn: (line: string) => void): BlockBackend {
    const index = nbdDrives(this.#config).findIndex(({ id }) => id === drive.id), started = this.#start.nbd[index];
    assert(started !== undefined, `drive ${drive.id} is on a server`);
    const { readOnly, discard, unsafe } = drive, options = { name: drive.id, readOnly, discard, unsafe, warn };
    return new NbdBackend(this.#link(started.memory, FIRST_NBD + index, false), started.found, options);
  }

  consoles(): Map<ConsolePortConfig, PortBackend> {
    return new Map(
      consolePorts(this.#config).map((port, index) => [
        port,
        new ConsoleLink(this.#link(this.#start.consoles[index]!, FIRST_CONSOLE + index, true)),
      ]),
    );
  }

  /** The streams of semihosting, those that there are. */
  semihosting(): { readonly console: PortBackend | null; readonly output: PortBackend | null } {
    const [console = null, output = null] = this.#start.semihosting.map((memory, index) =>
      new ConsoleLink(this.#link(memory, FIRST_SEMIHOSTING + index, true))
    );
    return { console, output };
  }

  vsocks(): Map<VirtioConfig, VsockBackend> {
    return new Map(
      devicesOf(this.#config, "vsock").map((device, index) => [
        device,
        this.#link(this.#start.vsocks[index]!, FIRST_VSOCK + index, false, true),
      ]),
    );
  }

  /** What a balloon stands on. A run that is to repeat gives nothing back, since not every host can. */
  balloon(memory: SharedArrayBuffer, warn: (line: string) => void): BalloonBackend | null {
    const { record, replay, dumpDtb } = this.#config;
    if (devicesOf(this.#config, "balloon").length === 0) return null;
    const link = this.#link(this.#start.balloon, BALLOON, false);
    let release: ReleasePages = () => {};
    try {
      if ((record ?? replay ?? dumpDtb) === null) release = openPageRelease(memory);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      warn(error.message);
    }
    return {
      next: () => link.next(),
      taken: () => link.taken(),
      get hasInput() {
        return link.hasInput;
      },
      release,
    };
  }

  #link(memory: SharedArrayBuffer, number: number, isConsole: boolean, patient = isConsole): MachineLink {
    const { gate, channel } = this, { machineBell, daemonBell } = channel;
    const waitForRoom = (hasRoom: () => boolean) => {
      for (const limit = sharedNowMs() + PATIENCE_MS; !hasRoom() && !channel.quitting && sharedNowMs() < limit;) {
        daemonBell.ring();
        machineBell.wait(() => !hasRoom() && !channel.quitting, Math.max(0, limit - sharedNowMs()));
      }
      return hasRoom();
    };
    return new MachineLink({
      port: new RecordPort(memory),
      number,
      gate,
      wake: () => daemonBell.ring(),
      // What a disk is asked for may wait without the guest seeing it; output of a console may not.
      sendsInReplay: isConsole,
      waitForRoom: patient && this.#config.icount !== null ? waitForRoom : null,
    });
  }
}
