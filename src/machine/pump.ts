// Pumps between the channel's byte rings and the host, on the daemon's thread. They never wait for the machine and never
// make it wait: what the host is slow to take stays in the output ring (the guest sees a busy transmitter), what the guest
// is slow to take stays with the host.

import type { Input } from "../../devices/host/character.ts";
import type { ByteRing } from "../base/ring.ts";
import type { Doorbell } from "./channel.ts";
import { encodeInput } from "./input_code.ts";

/** Ring → host, one write at a time. */
export class OutputPump {
  #writing: Promise<void> | null = null;

  constructor(
    private readonly ring: ByteRing,
    /** Told when there is room again. */
    private readonly bell: Doorbell,
    private readonly write: (data: Uint8Array) => Promise<void>,
    private readonly failed: (error: unknown) => void,
  ) {}

  /** Whether `service` would find nothing to do now. */
  get idle(): boolean {
    return this.#writing !== null || this.ring.length === 0;
  }

  service(): void {
    if (this.idle) return;
    const data = this.ring.read();
    this.bell.ring();
    this.#writing = this.write(data).then(() => {
      this.#writing = null;
      this.service();
    });
    this.#writing.catch(this.failed);
  }

  /** Resolves when everything in the ring is with the host. */
  async drain(): Promise<void> {
    for (this.service(); this.#writing !== null; this.service()) await this.#writing;
  }
}

/** Host → ring; closes the ring at the end of the input. */
export class InputPump {
  #pending: Uint8Array = new Uint8Array(0);
  #taken: (() => void) | null = null;

  constructor(
    private readonly ring: ByteRing,
    /** Told when there is input, or its end. */
    private readonly bell: Doorbell,
    private readonly read: () => Promise<Input | null>,
  ) {}

  get idle(): boolean {
    return this.#taken === null || this.ring.space === 0;
  }

  /** Puts what waits into the ring, as far as there is room. */
  service(): void {
    if (this.#taken === null) return;
    const count = this.ring.write(this.#pending);
    if (count > 0) this.bell.ring();
    this.#pending = this.#pending.subarray(count);
    if (this.#pending.length > 0) return;
    const taken = this.#taken;
    this.#taken = null;
    taken();
  }

  /** Runs until the input ends. */
  async run(): Promise<void> {
    for (let input = await this.read(); input !== null; input = await this.read()) {
      this.#pending = encodeInput(input);
      await new Promise<void>((resolve) => {
        this.#taken = resolve;
        this.service();
      });
    }
    this.ring.close();
    this.bell.ring();
  }
}
