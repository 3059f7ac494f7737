// `deno task bench --only=gdb`: the debugger stubs side by side, over the same packets by the same client: memory, single
// steps, breakpoint stops, and what breakpoints and watchpoints that are never hit cost. Conditional breakpoints go through
// the real gdb, which is where they are slow when the stub cannot evaluate them.

import { checksum } from "../gdbstub/bytes.ts";
import { type Machine, Run } from "./machines.ts";

const PORTS = { vitrine: 41_234, qemu: 41_235 } as const;
const RAM = 0x4000_0000, MEASURE_BYTES = 32 << 20, SECONDS = 3;

const LATIN1 = new TextDecoder("latin1"), ENCODER = new TextEncoder();
const HEAD_BYTES = 64, TAIL_BYTES = 3;

/** Packets that end with the same data, which is not copied or added up again for each. */
class Packets {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #sum: number;
  constructor(data: string) {
    this.#bytes = new Uint8Array(HEAD_BYTES + data.length + TAIL_BYTES);
    this.#sum = checksum(ENCODER.encode(data));
    ENCODER.encodeInto(data, this.#bytes.subarray(HEAD_BYTES));
  }
  with(head: string): Uint8Array<ArrayBuffer> {
    const start = HEAD_BYTES - head.length - 1, text = ENCODER.encode(`$${head}`);
    const sum = (checksum(text.subarray(1)) + this.#sum) & 255;
    this.#bytes.set(text, start);
    ENCODER.encodeInto(`#${sum.toString(16).padStart(2, "0")}`, this.#bytes.subarray(-TAIL_BYTES));
    return this.#bytes.subarray(start);
  }
}

/** A plain remote protocol client without acknowledgements. */
class Client {
  /** What has come and was not taken; the first bytes, up to `#searched`, hold no end of a packet. */
  readonly #buffer = new Uint8Array(1 << 21);
  #taken = 0;
  #filled = 0;
  #searched = 0;
  private constructor(readonly connection: Deno.TcpConn) {}

  static async connect(port: number): Promise<Client> {
    for (let tries = 0;; tries++) {
      try {
        const client = new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
        client.connection.setNoDelay(true);
        return client;
      } catch (error) {
        if (tries === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
  async send(data: Uint8Array | string): Promise<void> {
    const body = typeof data === "string" ? ENCODER.encode(data) : data;
    const sum = checksum(body), packet = new Uint8Array(body.length + 4);
    packet[0] = 0x24;
    packet.set(body, 1);
    packet.set(ENCODER.encode(`#${sum.toString(16).padStart(2, "0")}`), body.length + 1);
    await this.sendWhole(packet);
  }
  async sendWhole(packet: Uint8Array): Promise<void> {
    for (let at = 0; at < packet.length;) at += await this.connection.write(packet.subarray(at));
  }
  /** The next packet's contents, not shorter than `least`, until the next call; console output is passed over. */
  async receive(least = 0): Promise<Uint8Array> {
    this.#buffer.copyWithin(0, this.#taken, this.#filled);
    this.#filled -= this.#taken;
    this.#taken = this.#searched = 0;
    for (;;) {
      const from = Math.max(this.#searched, this.#taken + least);
      const end = this.#buffer.subarray(0, this.#filled).indexOf(0x23, from);
      if (end >= 0 && this.#filled >= end + 3) {
        const start = this.#buffer.indexOf(0x24, this.#taken), packet = this.#buffer.subarray(start + 1, end);
        this.#taken = this.#searched = end + 3;
        if (packet[0] !== 0x4f || packet[1] === 0x4b) return packet;
        continue;
      }
      this.#searched = end >= 0 ? end : this.#filled;
      const n = await this.connection.read(this.#buffer.subarray(this.#filled));
      if (n === null) throw new Error("the stub closed the connection");
      this.#filled += n;
    }
  }
  /** The answer to a packet that asks for memory; throws when that is an error. */
  async fetch(packet: string, bytes: number): Promise<Uint8Array> {
    await this.send(packet);
    const reply = await this.receive(bytes);
    if (reply.length < bytes) throw new Error(`${packet} is answered with ${LATIN1.decode(reply)}`);
    return reply;
  }
  async ask(data: Uint8Array | string): Promise<string> {
    await this.send(data);
    return LATIN1.decode(await this.receive());
  }
  async interrupt(): Promise<void> {
    await this.connection.write(new Uint8Array([3]));
    await this.receive();
  }
}

async function perSecond(seconds: number, once: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  let n = 0;
  for (; performance.now() - start < seconds * 1000; n++) await once();
  return n / ((performance.now() - start) / 1000);
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** A register of the `g` packet: 8 bytes, little-endian. */
async function register(client: Client, number: number): Promise<bigint> {
  const hex = (await client.ask("g")).slice(number * 16, number * 16 + 16);
  return BigInt("0x" + hex.match(/../g)!.toReversed().join(""));
}

export interface GdbResult {
  readonly readMiB: number;
  readonly writeMiB: number;
  readonly steps: number;
  readonly stops: number;
  readonly conditions: number;
  readonly withBreakpoints: number;
  readonly withWatchpoint: number;
}

/** Measures one stub on the program `image` (an endless loop that counts in X0 and stores to the address in X1). */
export async function measureStub(machine: Machine, board: readonly string[], image: string): Promise<GdbResult> {
  const port = PORTS[machine.name as keyof typeof PORTS];
  const run = new Run(machine, [...board, "-kernel", image, "-gdb", `tcp:127.0.0.1:${port}`, "-S"]);
  const client = await Client.connect(port);
  const supported = await client.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+");
  await client.ask("QStartNoAckMode");
  await client.connection.write(ENCODER.encode("+"));
  const packetBytes = parseInt(/PacketSize=([0-9a-f]+)/.exec(supported)![1]!, 16);
  await client.ask("?");
  await client.ask("vCont?");
  // Let it set up its translation and reach the loop.
  const go = async (ms: number) => {
    await client.send("vCont;c");
    await sleep(ms);
    await client.interrupt();
  };
  await go(1000);

  // As gdb does it: bytes where the stub takes them, digits where it does not.
  const readsBytes = supported.includes("binary-upload+"),
    writesBytes = await client.ask(`X${RAM.toString(16)},0:`) === "OK";
  const roomFor = (bytes: boolean) => Math.min(Math.floor((packetBytes - 64) / (bytes ? 1 : 2)), 1 << 18) & ~7;
  const mebibytes = async (chunk: number, once: (at: string, size: string) => Promise<unknown>) => {
    let at = 0;
    const move = async (seconds: number) => {
      const chunks = await perSecond(seconds, async () => {
        await once((RAM + 0x100_0000 + at).toString(16), chunk.toString(16));
        at = (at + chunk) % MEASURE_BYTES;
      });
      return chunks * chunk / 2 ** 20;
    };
    await move(1);
    return await move(SECONDS);
  };
  const readChunk = roomFor(readsBytes), writeChunk = roomFor(writesBytes);
  const readMiB = await mebibytes(
    readChunk,
    (at, size) => client.fetch(`${readsBytes ? "x" : "m"}${at},${size}`, readsBytes ? readChunk : 2 * readChunk),
  );
  const packets = new Packets((writesBytes ? "Z" : "5a").repeat(writeChunk));
  const writeMiB = await mebibytes(writeChunk, async (at, size) => {
    await client.sendWhole(packets.with(`${writesBytes ? "X" : "M"}${at},${size}:`));
    const reply = LATIN1.decode(await client.receive());
    if (reply !== "OK") throw new Error(`${machine.name}: writing memory is answered with ${reply}`);
  });
  const warmly = async (once: () => Promise<unknown>) => {
    await perSecond(1, once);
    return await perSecond(SECONDS, once);
  };
  const steps = await warmly(() => client.ask("vCont;s"));
  const pc = (await register(client, 32)).toString(16);
  await client.ask(`Z0,${pc},4`);
  const stops = await warmly(async () => {
    await client.ask("vCont;c");
    // gdb steps off a breakpoint before it goes on.
    await client.ask(`z0,${pc},4`);
    await client.ask("vCont;s");
    await client.ask(`Z0,${pc},4`);
  });
  await client.ask(`z0,${pc},4`);

  // How far the loop's counter comes in a second, undisturbed and with things set that are never hit.
  const speed = async () => {
    // The host's compiler takes its time with what runs for the first time.
    await go(SECONDS * 1000);
    const before = await register(client, 0), start = performance.now();
    await go(SECONDS * 1000);
    return Number(await register(client, 0) - before) / ((performance.now() - start) / 1000);
  };
  const free = await speed();
  for (let n = 0; n < 50; n++) await client.ask(`Z0,${(RAM + 0x20_0000 + 0x800 + n * 4).toString(16)},4`);
  const withBreakpoints = await speed() / free;
  for (let n = 0; n < 50; n++) await client.ask(`z0,${(RAM + 0x20_0000 + 0x800 + n * 4).toString(16)},4`);
  const page = await register(client, 1);
  await client.ask(`Z2,${(page + 0x100n).toString(16)},8`);
  const withWatchpoint = await speed() / free;
  await client.ask(`z2,${(page + 0x100n).toString(16)},8`);
  client.connection.close();

  // The condition is false every time; the counter tells how often it was evaluated.
  const gdb = new Deno.Command("gdb-multiarch", {
    args: ["-q", "-nx", "-batch", "-ex", "set architecture aarch64", "-ex", `target remote 127.0.0.1:${port}`]
      .concat(["-ex", `break *0x${pc} if $x0 == 1`, "-ex", 'printf "from %lu\\n", $x0', "-ex", "continue"])
      .concat(["-ex", 'printf "to %lu\\n", $x0']),
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  await sleep(1500 + SECONDS * 1000);
  // It may be between two stops, and overlook it.
  const nudge = setInterval(() => gdb.kill("SIGINT"), 500);
  const text = new TextDecoder().decode((await gdb.output()).stdout);
  clearInterval(nudge);
  const [from, to] = ["from", "to"].map((word) => Number(new RegExp(`^${word} (\\d+)`, "m").exec(text)?.[1] ?? NaN));
  await run.end(0).catch(() => {});
  return {
    readMiB,
    writeMiB,
    steps,
    stops,
    conditions: (to! - from!) / (SECONDS + 1),
    withBreakpoints,
    withWatchpoint,
  };
}
