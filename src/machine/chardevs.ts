// The character devices of a configuration: opens each, puts a log file and a multiplexer around it where it says so, and
// hands out front ends to the serial port and, later, to consoles and the monitor.

import {
  type CharacterBackend,
  FileBackend,
  LoggedBackend,
  NullBackend,
  OutputFile,
  type Warn,
} from "../../devices/host/character.ts";
import { CharacterMux, type MuxSurroundings } from "../../devices/host/mux.ts";
import { PipeBackend } from "../../devices/host/pipe.ts";
import { PtyBackend } from "../../devices/host/pty.ts";
import { RingBuffer } from "../../devices/host/ring_buffer.ts";
import { SocketBackend } from "../../devices/host/socket.ts";
import { UdpBackend } from "../../devices/host/udp.ts";
import { assert, HostError } from "../base/errors.ts";
import type { ChardevBackend, ChardevConfig } from "./config.ts";
import { Terminal } from "./terminal.ts";

export interface ChardevSurroundings extends Omit<MuxSurroundings, "quit"> {
  /** The user asked to leave, by the escape key. */
  readonly quit: () => void;
  /** A line for the user: where a server listens, what went wrong. */
  readonly notice: (line: string) => void;
}

interface Chardev {
  readonly id: string;
  readonly backend: CharacterBackend;
  readonly mux: CharacterMux | null;
  /** What the monitor reads. */
  readonly ring: RingBuffer | null;
  /** Who has an end of it. */
  readonly users: string[];
}

export class CharacterDevices {
  readonly #devices = new Map<string, Chardev>();
  #closed = false;

  constructor(private readonly around: ChardevSurroundings) {}

  /** Opens all; a server with `wait` holds this up until its first client is there. Throws HostError. */
  async open(configs: readonly ChardevConfig[]): Promise<void> {
    const waiting: SocketBackend[] = [];
    for (const config of configs) {
      const warn: Warn = (line) => this.around.notice(`${config.id}: ${line}`);
      const plain = await this.#openBackend(config.backend, warn);
      const backend = await withLog(plain, config.log, warn);
      const multiplexed = config.mux === "on" ||
        (config.mux === "auto" && plain instanceof Terminal && plain.interactive);
      const mux = multiplexed ? new CharacterMux(backend, this.around) : null;
      this.#devices.set(config.id, {
        id: config.id,
        backend,
        mux,
        ring: plain instanceof RingBuffer ? plain : null,
        users: [],
      });
      // The run ended while this one was being opened.
      if (this.#closed) return backend.close();
      if (plain instanceof SocketBackend && config.backend.kind === "socket" && config.backend.server) {
        warn(`listening on ${plain.name}${config.backend.wait ? ", waiting for a client" : ""}`);
        if (config.backend.wait) waiting.push(plain);
      }
      if (plain instanceof PtyBackend) warn(`char device redirected to ${plain.path}`);
    }
    await Promise.all(waiting.map((server) => server.whenConnected()));
  }

  /** The end of device `id` for `user`. A device without a multiplexer has one only; throws HostError for another. */
  attach(id: string, user: string, onFocus?: (has: boolean) => void): CharacterBackend {
    const device = this.#devices.get(id);
    assert(device, `there is a character device ${id}`);
    if (device.mux === null && device.users.length > 0) {
      throw new HostError(`character device ${id} is used by ${device.users[0]}: it needs mux=on for ${user} too`);
    }
    device.users.push(user);
    return device.mux?.attach(user, onFocus) ?? device.backend;
  }

  /** The ring buffer of device `id`, or null when it has none. */
  ringBuffer(id: string): RingBuffer | null {
    return this.#devices.get(id)?.ring ?? null;
  }

  /** One line per device, for the monitor. */
  info(): string[] {
    return [...this.#devices.values()].map(({ id, backend: { name, state } }) =>
      `${id}: ${name}${state === "" ? "" : ` (${state})`}`
    );
  }

  close(): void {
    this.#closed = true;
    for (const { backend, mux } of this.#devices.values()) (mux ?? backend).close();
    this.#devices.clear();
  }

  async #openBackend(backend: ChardevBackend, warn: Warn): Promise<CharacterBackend> {
    switch (backend.kind) {
      case "null":
        return new NullBackend();
      case "stdio":
        return new Terminal(backend.signal);
      case "file":
        return await FileBackend.open(backend.path, backend.append, backend.inputPath, warn);
      case "pipe":
        return await PipeBackend.open(backend.path, warn);
      case "pty":
        return PtyBackend.open(warn);
      case "ringbuf":
        return new RingBuffer(backend.sizeBytes);
      case "udp":
        return await UdpBackend.open(backend);
      case "socket":
        return await SocketBackend.open(backend, warn);
    }
  }
}

/** `backend` with its log file, if it has one. */
async function withLog(
  backend: CharacterBackend,
  log: ChardevConfig["log"],
  warn: Warn,
): Promise<CharacterBackend> {
  if (log === null) return backend;
  try {
    return new LoggedBackend(backend, await OutputFile.open(log.path, log.append, warn));
  } catch (error) {
    backend.close();
    throw error;
  }
}
