// A debugger for the stub's tests: sends packets, checks frames, and sees everything that comes back. Over a pair of
// in-memory streams, so that a test needs no socket.

import { ascii, checksum, textOf, textToHex } from "../../gdbstub/bytes.ts";
import { Connection, type Stream } from "../../gdbstub/connection.ts";
import { frame, Framer } from "../../gdbstub/framing.ts";
import type { Target } from "../../gdbstub/target.ts";

/** One direction of a connection. */
class Pipe {
  readonly #chunks: Uint8Array[] = [];
  #closed = false;
  #changed = Promise.withResolvers<void>();

  write(data: Uint8Array): void {
    if (this.#closed) throw new Deno.errors.BrokenPipe();
    this.#chunks.push(data.slice());
    this.#wake();
  }
  close(): void {
    this.#closed = true;
    this.#wake();
  }
  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
  async read(into: Uint8Array): Promise<number | null> {
    while (this.#chunks.length === 0) {
      if (this.#closed) return null;
      await this.#changed.promise;
    }
    const chunk = this.#chunks[0]!, count = Math.min(into.length, chunk.length);
    into.set(chunk.subarray(0, count));
    if (count === chunk.length) this.#chunks.shift();
    else this.#chunks[0] = chunk.subarray(count);
    return count;
  }
}

/** Every byte as the character with its number. */
const latin1 = (data: Uint8Array): string => {
  let text = "";
  for (let at = 0; at < data.length; at += 8192) text += String.fromCharCode(...data.subarray(at, at + 8192));
  return text;
};

const GDB_FEATURES = "multiprocess+;swbreak+;hwbreak+;vContSupported+;QThreadEvents+;no-resumed+";

export class Client {
  readonly #toStub = new Pipe();
  readonly #fromStub = new Pipe();
  readonly #framer = new Framer(1 << 22);
  readonly #frames: string[] = [];
  /** Text of O packets. */
  console = "";
  acks = 0;
  naks = 0;
  readonly done: Promise<void>;
  readonly connection: Connection;

  constructor(target: Target) {
    const stream: Stream = {
      read: (into) => this.#toStub.read(into),
      write: (data) => {
        this.#fromStub.write(data);
        return Promise.resolve(data.length);
      },
      close: () => {
        this.#toStub.close();
        this.#fromStub.close();
      },
    };
    this.connection = new Connection(target, stream);
    this.done = this.connection.run();
    this.done.catch(() => {});
  }

  /** A client that has shaken hands as gdb does. */
  static async attached(target: Target, features = GDB_FEATURES): Promise<Client> {
    const client = new Client(target);
    await client.ask(`qSupported:${features}`);
    await client.ask("QStartNoAckMode");
    client.send("+");
    await client.ask("!");
    return client;
  }

  /** Raw bytes. */
  send(data: string | Uint8Array): void {
    this.#toStub.write(typeof data === "string" ? ascii(data) : data);
  }

  packet(data: string | Uint8Array): void {
    this.send(frame(typeof data === "string" ? ascii(data) : data));
  }

  /** The next packet or notification, as text; console output is collected on the side. */
  async next(): Promise<string> {
    const buffer = new Uint8Array(1 << 16);
    for (;;) {
      const text = this.#frames.shift();
      if (text !== undefined) {
        if (!/^O([0-9a-f]{2})+$/.test(text)) return text;
        this.console += textOf(Uint8Array.from(text.slice(1).match(/../g)!, (pair) => parseInt(pair, 16)));
        continue;
      }
      const count = await this.#fromStub.read(buffer);
      if (count === null) throw new Error("the stub closed the connection");
      this.#take(buffer.subarray(0, count));
    }
  }

  #take(chunk: Uint8Array): void {
    // A notification is a frame with another first byte.
    const at = textOf(chunk).indexOf("%Stop:"), plain = chunk.slice();
    if (at >= 0) plain[at] = 0x24;
    for (const found of this.#framer.push(plain)) {
      if (found.kind === "packet") this.#frames.push(latin1(found.data));
      else if (found.kind === "ack") this.acks++;
      else if (found.kind === "nak") this.naks++;
      else throw new Error(`the stub sent a bad frame: ${JSON.stringify(found)}`);
    }
  }

  async ask(data: string | Uint8Array): Promise<string> {
    this.packet(data);
    return await this.next();
  }

  /** `monitor LINE`: its text. */
  async monitor(line: string): Promise<string> {
    this.console = "";
    const reply = await this.ask(`qRcmd,${textToHex(line)}`);
    if (reply === "OK") return this.console;
    if (!/^([0-9a-f]{2})+$/.test(reply)) return reply;
    return this.console + textOf(Uint8Array.from(reply.match(/../g)!, (pair) => parseInt(pair, 16)));
  }

  /** The whole of a document. */
  async transfer(object: string, annex = "", step = 4000): Promise<string> {
    let text = "";
    for (;;) {
      const reply = await this.ask(`qXfer:${object}:read:${annex}:${text.length.toString(16)},${step.toString(16)}`);
      if (!/^[ml]/.test(reply)) return reply;
      text += reply.slice(1).replace(/\}(.)/gs, (_, c: string) => String.fromCharCode(c.charCodeAt(0) ^ 0x20));
      if (reply.startsWith("l")) return text;
    }
  }

  /** The debugger goes without a word. */
  async leave(): Promise<void> {
    this.#toStub.close();
    await this.done;
  }
}

/** A stop reply without its registers and core. */
export const stop = (reply: string): string =>
  reply.replace(/(?<=^T..|;)[0-9a-f]{1,2}:[0-9a-f]+;/g, "").replace(/core:\w+;/, "");

/** `data` with a wrong checksum. */
export function damaged(data: string): string {
  const sum = (checksum(ascii(data)) + 1) & 0xff;
  return `$${data}#${sum.toString(16).padStart(2, "0")}`;
}

/** Repeatable noise. */
export function noise(bytes: number, seed = 1): Uint8Array<ArrayBuffer> {
  let state = seed;
  return Uint8Array.from({ length: bytes }, () => {
    state = Math.imul(state, 1664525) + 1013904223 | 0;
    return state >>> 24;
  });
}
