// One debugger's connection: bytes in, frames to the session in order, replies out. Reading goes on while a command works,
// so that a break or the end of the connection is seen at once; what waits is bounded, and beyond that reading waits.

import { MalformedPacket, PacketReader } from "./packet.ts";
import { ascii } from "./bytes.ts";
import { findPacket } from "./commands.ts";
import { type Frame, Framer, PACKET_BYTES } from "./framing.ts";
import { type Reply, Session, type Wire } from "./session.ts";
import { ERRNO, Refusal, type Target } from "./target.ts";

/** A stream of bytes: a Deno.Conn, or a test's. */
export interface Stream {
  read(into: Uint8Array): Promise<number | null>;
  write(data: Uint8Array): Promise<number>;
  close(): void;
}

const READ_BYTES = 0x40000;
/** Frames and their bytes that may wait while a command works. */
const MAX_WAITING = 256, MAX_WAITING_BYTES = 2 * PACKET_BYTES;
/** A peer that keeps refusing the same frame has no use for it. */
const MAX_RETRANSMISSIONS = 16;

/** How long a debugger may take to read the last words. */
const PATIENCE_MS = 500;

const PLUS = ascii("+"), MINUS = ascii("-");

/** Serves one debugger until it goes. */
export class Connection implements Wire {
  readonly session: Session;
  readonly #framer = new Framer();
  readonly #waiting: Frame[] = [];
  #waitingBytes = 0;
  #closed = false;
  /** Settled when the state that a loop waits for may have changed. */
  #arrived = Promise.withResolvers<void>();
  #taken = Promise.withResolvers<void>();
  #sending: Promise<void> = Promise.resolve();
  #backlogBytes = 0;
  #lastSent: Uint8Array<ArrayBuffer> | null = null;
  #retransmissions = 0;
  #failure: unknown = null;

  constructor(target: Target, private readonly stream: Stream) {
    this.session = new Session(target, this);
  }

  /** Runs the session. Throws when the stub or its target failed; the debugger's ways to go are no failure. */
  async run(): Promise<void> {
    const reading = this.#read();
    try {
      await this.session.attach();
      await this.#work();
    } catch (error) {
      this.fail(error);
    }
    this.close();
    await this.session.close();
    await reading;
    await this.#sending.catch(() => {});
    if (this.#failure !== null) throw this.#failure;
  }

  /** Ends the connection; run() then ends. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.session.cancelled = true;
    try {
      this.stream.close();
    } catch {
      // It is closed already.
    }
    this.#arrived.resolve();
    this.#taken.resolve();
  }

  /** Ends the connection after what is being sent, for which the debugger has some time. */
  async end(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, PATIENCE_MS));
    await Promise.race([this.#sending, late]);
    clearTimeout(timer);
    this.close();
  }

  fail(error: unknown): void {
    this.#failure ??= error;
    this.close();
  }

  // Reading

  async #read(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    while (!this.#closed) {
      const count = await this.stream.read(buffer).catch(() => null);
      if (count === null || this.#closed) break;
      for (const frame of this.#framer.push(buffer.subarray(0, count))) this.#arrive(frame);
      while (!this.#closed && (this.#waiting.length > MAX_WAITING || this.#waitingBytes > MAX_WAITING_BYTES)) {
        this.#taken = Promise.withResolvers();
        await this.#taken.promise;
      }
    }
    this.close();
  }

  #arrive(frame: Frame): void {
    if (frame.kind === "ack") {
      this.#retransmissions = 0;
      return;
    }
    if (frame.kind === "break") this.session.cancelled = true;
    // A second break says nothing new, and a peer could send millions.
    const last = this.#waiting.at(-1);
    if (frame.kind !== "packet" && last?.kind === frame.kind) return;
    if (frame.kind === "packet") {
      this.#waitingBytes += frame.data.length;
      // At once, however long the answer takes: gdb says it all again after two seconds. What switches acknowledgements off
      // is itself acknowledged.
      if (!this.session.noAck) void this.#write(PLUS);
      // It has had the last answer, or it would not go on.
      this.#lastSent = null;
    }
    this.#waiting.push(frame);
    this.#arrived.resolve();
  }

  // Working

  async #work(): Promise<void> {
    while (!this.#closed) {
      const frame = this.#waiting.shift();
      if (frame === undefined) {
        this.#arrived = Promise.withResolvers();
        await this.#arrived.promise;
        continue;
      }
      if (frame.kind === "packet") this.#waitingBytes -= frame.data.length;
      this.#taken.resolve();
      await this.#handle(frame);
    }
  }

  async #handle(frame: Frame): Promise<void> {
    switch (frame.kind) {
      case "break":
        await this.session.interrupt();
        break;
      case "nak":
        if (this.session.noAck || this.#lastSent === null) break;
        if (++this.#retransmissions > MAX_RETRANSMISSIONS) this.close();
        else await this.#write(this.#lastSent);
        break;
      case "bad":
        if (this.session.noAck || frame.why === "length") {
          if (!this.session.noAck) await this.#write(PLUS);
          await this.#reply(new Refusal(`the packet has a wrong ${frame.why}`, ERRNO.EINVAL), true);
        } else {
          await this.#write(MINUS);
        }
        break;
      case "packet":
        await this.#perform(frame.data);
        this.#framer.recycle(frame.data);
    }
  }

  async #perform(data: Uint8Array<ArrayBuffer>): Promise<void> {
    const found = findPacket(data);
    if (found === undefined) return await this.#reply("", true);
    const { command, args } = found;
    this.session.cancelled = this.#closed;
    let reply: Reply;
    try {
      reply = await command.run(this.session, new PacketReader(data, args));
    } catch (error) {
      if (!(error instanceof MalformedPacket)) throw error;
      reply = new Refusal(error.message, ERRNO.EINVAL);
    }
    if (reply !== null) await this.#reply(reply, command.plainErrors === true);
  }

  async #reply(reply: Exclude<Reply, null>, plainErrors: boolean): Promise<void> {
    await this.send(this.session.frameOf(reply, plainErrors));
  }

  // Sending

  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  async send(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#lastSent = bytes;
    await this.#write(bytes);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#backlogBytes += bytes.length;
    const before = this.#sending;
    this.#sending = (async () => {
      await before;
      try {
        for (let at = 0; at < bytes.length && !this.#closed;) at += await this.stream.write(bytes.subarray(at));
      } catch {
        // The debugger has gone: reading sees the same.
        this.close();
      }
      this.#backlogBytes -= bytes.length;
    })();
    await this.#sending;
  }
}
