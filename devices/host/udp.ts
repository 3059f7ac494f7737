// UDP as a character backend: what the guest sends goes out in datagrams to one address, and what comes from there is
// input. Datagrams get lost, by the network or here when the guest does not read; nothing waits.

import { createSocket, type Socket } from "node:dgram";
import { HostError, reason } from "../../src/base/errors.ts";
import { type CharacterBackend, Signal } from "./character.ts";

export interface UdpOptions {
  readonly host: string;
  readonly port: number;
  /** Where input is received; port 0 takes any. */
  readonly localHost: string;
  readonly localPort: number;
}

/** Fits any network without fragments. */
const DATAGRAM_BYTES = 1024;
/** Input that the guest has not taken; more is lost. */
const QUEUE_BYTES = 65536;

export class UdpBackend implements CharacterBackend {
  readonly name: string;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #lost = 0;
  #closed = false;
  readonly #changed = new Signal();

  private constructor(options: UdpOptions, private readonly socket: Socket) {
    this.name = `udp:${options.host}:${options.port}@${options.localHost}:${socket.address().port}`;
    socket.on("message", (data) => {
      if (this.#queuedBytes + data.length > QUEUE_BYTES) {
        this.#lost += data.length;
        return;
      }
      this.#queuedBytes += data.length;
      this.#queue.push(Uint8Array.from(data));
      this.#changed.fire();
    });
    // Nobody listening at the other end is no error, now or later.
    socket.on("error", () => {});
  }

  static async open(options: UdpOptions): Promise<UdpBackend> {
    const { host, port, localHost, localPort } = options, six = localHost.includes(":");
    const socket = createSocket(six ? "udp6" : "udp4");
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once("error", reject);
        socket.bind(
          localPort,
          localHost,
          () => socket.connect(port, host, (error?: Error) => error ? reject(error) : resolve()),
        );
      });
      socket.removeAllListeners("error");
      return new UdpBackend(options, socket);
    } catch (error) {
      socket.close();
      throw new HostError(`cannot open udp:${host}:${port}@${localHost}:${localPort}: ${reason(error)}`);
    }
  }

  get state(): string {
    return this.#lost > 0 ? `${this.#lost} bytes of input were lost` : "";
  }

  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const data = this.#queue.shift();
      if (data !== undefined) {
        this.#queuedBytes -= data.length;
        return data;
      }
      if (this.#closed) return null;
      await this.#changed.fired;
    }
  }

  async write(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length && !this.#closed; at += DATAGRAM_BYTES) {
      const piece = data.subarray(at, at + DATAGRAM_BYTES);
      await new Promise<void>((resolve) => this.socket.send(piece, () => resolve()));
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.socket.close();
    this.#changed.fire();
  }
}
