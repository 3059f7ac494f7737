// Disks on NBD servers: both halves of the client in one thread, against qemu-nbd, nbdkit, and servers that lie or die.

import assert from "node:assert/strict";
import { NbdBackend, type NbdOptions } from "../../devices/host/nbd.ts";
import { NbdLink, type NbdLinkOptions } from "../../devices/host/nbd_link.ts";
import { CHUNK, CHUNK_FLAG_DONE, MAGIC, OPTION, OPTION_REPLY } from "../../devices/host/nbd_protocol.ts";
import { MachineLink, RecordPort } from "../../devices/host/record_port.ts";
import type { SocketAddress } from "../../devices/host/socket.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Dice, hasTools, inDirectory } from "./tools.ts";

const MiB = 2 ** 20, SECTOR = 512;
const LIMIT_MS = 10_000;

class Disk {
  readonly warnings: string[];
  private constructor(readonly link: NbdLink, readonly backend: NbdBackend, warnings: string[]) {
    this.warnings = warnings;
  }

  static async open(address: SocketAddress, more: Partial<NbdOptions & NbdLinkOptions> = {}): Promise<Disk> {
    const port = new RecordPort(RecordPort.create(2 ** 20)), warnings: string[] = [];
    const warn = (line: string) => void warnings.push(line);
    const link = await NbdLink.open(port, () => {}, { address, exportName: "", patienceMs: 5000, ...more }, warn);
    const gate = {
      replaying: false,
      frame: (_: number, host: () => Uint8Array | null) => host(),
      frameTaken: (_: number, host: () => void) => host(),
    };
    const machine = new MachineLink({
      ...{ port, gate, number: 64, sendsInReplay: false, waitForRoom: null },
      wake: () => link.service(),
    });
    const options = { name: link.name, readOnly: false, discard: true, unsafe: false, warn, ...more };
    return new Disk(link, new NbdBackend(machine, link.found, options), warnings);
  }

  /** Whether the operation ended well, once it has ended. */
  async run(start: (done: (good: boolean) => void) => void): Promise<boolean> {
    let ended: boolean | null = null;
    start((good) => ended = good);
    const end = performance.now() + LIMIT_MS;
    while (ended === null) {
      if (performance.now() > end) throw new Error(`no answer; ${this.link.state}; ${this.warnings.join("; ")}`);
      this.pump();
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    return ended;
  }
  pump(): void {
    this.link.service();
    this.backend.pump();
  }

  async read(offset: number, bytes: number): Promise<Uint8Array | null> {
    const out = new Uint8Array(bytes), half = Math.floor(bytes / 3);
    const pieces = [out.subarray(0, half), out.subarray(half)];
    return await this.run((done) => this.backend.read(offset, pieces, done)) ? out : null;
  }
  write(offset: number, data: Uint8Array): Promise<boolean> {
    const half = Math.floor(data.length / 2);
    return this.run((done) => this.backend.write(offset, [data.subarray(0, half), data.subarray(half)], done));
  }
}

const unix = (path: string): SocketAddress => ({ kind: "unix", path });

async function withServer(program: string, args: string[], socket: string, use: () => Promise<void>): Promise<void> {
  const child = new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  try {
    for (let n = 0; n < 200; n++) {
      if (await Deno.stat(socket).then(() => true, () => false)) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await use();
  } finally {
    try {
      child.kill("SIGKILL");
    } catch { /* It has ended by itself. */ }
    await child.status;
  }
}

function pattern(offset: number, bytes: number, round: number): Uint8Array {
  const out = new Uint8Array(bytes), view = new DataView(out.buffer);
  for (let at = 0; at < bytes; at += 8) {
    view.setUint32(at, offset + at);
    view.setUint32(at + 4, round);
  }
  return out;
}

/** Uses the disk at random beside an array, several requests at a time. */
async function exercise(disk: Disk, model: Uint8Array, seed: number): Promise<void> {
  const dice = new Dice(seededRandom(seed));
  for (let round = 0; round < 25; round++) {
    const busy: Promise<void>[] = [], size = model.length / 4;
    for (let part = 0; part < 4; part++) {
      const bytes = SECTOR * (1 + dice.below(dice.pick(8, 8, 2500))), most = (size - bytes) / SECTOR;
      const offset = part * size + SECTOR * dice.below(most);
      const own = model.subarray(offset, offset + bytes);
      busy.push((async () => {
        switch (dice.below(6)) {
          case 0:
            assert(await disk.run((done) => disk.backend.zero(offset, bytes, dice.below(2) === 0, done)));
            own.fill(0);
            break;
          case 1:
            if (!disk.backend.canDiscard) break;
            assert(await disk.run((done) => disk.backend.discard(offset, bytes, done)));
            own.set((await disk.read(offset, bytes))!);
            break;
          case 2:
            assert(await disk.run((done) => disk.backend.flush(done)));
            break;
          case 3:
            assert.deepEqual(await disk.read(offset, bytes), own.slice());
            break;
          default: {
            const data = pattern(offset, bytes, round);
            assert(await disk.write(offset, data));
            own.set(data);
          }
        }
      })());
    }
    await Promise.all(busy);
  }
  assert.deepEqual(await disk.read(0, model.length), model);
}

const SERVERS: Record<string, { program: string; args: (socket: string, image: string) => string[] }> = {
  "qemu-nbd": {
    program: "qemu-nbd",
    args: (socket, image) => ["-f", "raw", "-k", socket, "--discard=unmap", "-t", image],
  },
  "nbdkit": { program: "nbdkit", args: (socket, image) => ["-f", "-U", socket, "file", image] },
  "nbdkit without structured replies and zeroes": {
    program: "nbdkit",
    args: (
      socket,
      image,
    ) => ["-f", "--no-sr", "-U", socket, "--filter=nozero", "file", image, "zeromode=none"],
  },
  "nbdkit with small requests only": {
    program: "nbdkit",
    args: (
      socket,
      image,
    ) => [
      ...["-f", "-U", socket, "--filter=blocksize-policy", "file", image],
      ...[
        "blocksize-minimum=512",
        "blocksize-preferred=4096",
        "blocksize-maximum=32768",
        "blocksize-error-policy=error",
      ],
    ],
  },
};
for (const [name, { program, args }] of Object.entries(SERVERS)) {
  Deno.test({
    name: `a disk on ${name} is read and written`,
    ignore: !await hasTools(program),
    fn: () =>
      inDirectory(async (directory) => {
        const socket = `${directory}/socket`, image = `${directory}/image`, model = pattern(0, 8 * MiB, 77);
        await Deno.writeFile(image, model);
        await withServer(program, args(socket, image), socket, async () => {
          const disk = await Disk.open(unix(socket));
          assert.equal(disk.backend.sizeBytes, model.length);
          await exercise(disk, model, name.length);
          disk.link.close();
        });
        assert.deepEqual(await Deno.readFile(image), model);
      }),
  });
}

Deno.test({
  name: "what must be on the disk at once is written with force unit access, where the server has it",
  ignore: !await hasTools("nbdkit"),
  fn: () =>
    inDirectory(async (directory) => {
      const socket = `${directory}/socket`, log = `${directory}/log`, data = pattern(0, 4096, 1);
      const words: string[] = [];
      // The filter's own way, where it is not told of one, is to have none.
      for (const filters of [[], ["--filter=fua"]]) {
        const args = ["-f", "-U", socket, "--filter=log", ...filters, "memory", "1M"];
        await withServer("nbdkit", [...args, `logfile=${log}`], socket, async () => {
          const disk = await Disk.open(unix(socket)), { backend } = disk;
          words.push(`${backend.canBeDurable}`);
          await disk.run((done) => backend.write(0, [data], done, true));
          await disk.run((done) => backend.write(4096, [data], done));
          await disk.run((done) => backend.zero(8192, 4096, true, done, true));
          disk.link.close();
        });
        await Deno.remove(socket).catch(() => {});
        const asked = (await Deno.readTextFile(log)).matchAll(/ (Write|Zero) id=\d+ offset=(\w+) .*?fua=(\d)/g);
        words.push(...[...asked].map(([, what, offset, fua]) => `${what} ${offset} ${fua}`));
        await Deno.remove(log);
      }
      const at = ["0x0", "0x1000", "0x2000"],
        lines = (...fua: number[]) => fua.map((flag, n) => `${n === 2 ? "Zero" : "Write"} ${at[n]} ${flag}`);
      assert.deepEqual(words, ["true", ...lines(1, 0, 1), "false", ...lines(0, 0, 0)]);
    }),
});

Deno.test({
  name: "a server that dies and comes back is used again; what was in flight is answered",
  ignore: !await hasTools("nbdkit"),
  fn: () =>
    inDirectory(async (directory) => {
      const socket = `${directory}/socket`, image = `${directory}/image`, data = pattern(0, MiB, 3);
      await Deno.writeFile(image, new Uint8Array(4 * MiB));
      const args = ["-f", "-U", socket, "--filter=delay", "file", image, "delay-write=300ms"];
      let disk: Disk | undefined, writing: Promise<boolean> | undefined;
      await withServer("nbdkit", args, socket, async () => {
        disk = await Disk.open(unix(socket));
        assert.deepEqual(await disk.read(0, MiB), new Uint8Array(MiB));
        writing = disk.write(MiB, data);
        await new Promise((resolve) => setTimeout(resolve, 100));
      });
      await Deno.remove(socket);
      await withServer("nbdkit", args, socket, async () => {
        assert.equal(await writing, true);
        assert.deepEqual(await disk!.read(MiB, MiB), data);
        assert.match(disk!.warnings.join("\n"), /lost.*\n.*connected again/);
        disk!.link.close();
      });
    }),
});

Deno.test({
  name: "a server that stays away makes the disk fail, until it is back",
  ignore: !await hasTools("nbdkit"),
  fn: () =>
    inDirectory(async (directory) => {
      const socket = `${directory}/socket`, args = ["-f", "-U", socket, "memory", "1M"];
      let disk: Disk | undefined;
      await withServer("nbdkit", args, socket, async () => {
        disk = await Disk.open(unix(socket), { patienceMs: 300 });
        assert(await disk.write(0, pattern(0, 4096, 1)));
      });
      assert.equal(await disk!.read(0, 4096), null);
      assert.equal(await disk!.read(0, 4096), null);
      await Deno.remove(socket);
      await withServer("nbdkit", args, socket, async () => {
        for (let n = 0; n < 100 && disk!.link.counters.connections < 2; n++) {
          disk!.pump();
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        disk!.pump();
        assert.notEqual(await disk!.read(0, 4096), null);
        disk!.link.close();
      });
    }),
});

Deno.test({
  name: "errors of the server are answers, an export that is not there is refused",
  ignore: !await hasTools("nbdkit", "qemu-nbd"),
  fn: () =>
    inDirectory(async (directory) => {
      const socket = `${directory}/socket`, image = `${directory}/image`;
      const args = ["-f", "-U", socket, "--filter=error", "memory", "1M", "error-pread=EIO", "error-pread-rate=100%"];
      await withServer("nbdkit", args, socket, async () => {
        const disk = await Disk.open(unix(socket));
        assert.equal(await disk.read(0, 4096), null);
        assert.equal(await disk.write(0, new Uint8Array(4096)), true);
        assert.match(disk.warnings[0]!, /answers read with error 5/);
        disk.link.close();
      });
      await Deno.remove(socket).catch(() => {});
      await Deno.writeFile(image, new Uint8Array(MiB));
      await withServer("qemu-nbd", ["-f", "raw", "-k", socket, "-r", "-x", "disk", "-t", image], socket, async () => {
        await assert.rejects(
          Disk.open(unix(socket), { exportName: "other" }),
          /refuses the export "other".*no such export/,
        );
        const disk = await Disk.open(unix(socket), { exportName: "disk" });
        assert.equal(disk.backend.readOnly, true);
        disk.link.close();
      });
      await assert.rejects(Disk.open(unix(`${directory}/none`)), /cannot connect to nbd:unix:.*: no such file/);
    }),
});

/** A server in this process that does what a test says once the handshake is done. */
class Liar {
  connections = 0;
  private constructor(readonly address: SocketAddress, private readonly listener: Deno.Listener) {}

  static listen(
    structured: boolean,
    behave: (conn: Deno.Conn, request: DataView, connection: number) => Promise<void> | void,
  ): Liar {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const liar = new Liar({ kind: "tcp", host: "127.0.0.1", port: listener.addr.port }, listener);
    void (async () => {
      for await (const conn of listener) {
        void liar.#serve(conn, ++liar.connections, structured, behave).catch(() => {});
      }
    })();
    return liar;
  }

  close(): void {
    this.listener.close();
  }

  async #serve(
    conn: Deno.Conn,
    connection: number,
    structured: boolean,
    behave: (conn: Deno.Conn, request: DataView, connection: number) => Promise<void> | void,
  ): Promise<void> {
    const receive = async (bytes: number) => {
      const out = new Uint8Array(bytes);
      for (let done = 0; done < bytes;) {
        const count = await conn.read(out.subarray(done));
        if (count === null) throw new Error("end");
        done += count;
      }
      return new DataView(out.buffer);
    };
    try {
      await conn.write(words(MAGIC.INIT_HIGH, MAGIC.INIT_LOW, MAGIC.OPTION_HIGH, MAGIC.OPTION_LOW));
      await conn.write(Uint8Array.of(0, 3));
      await receive(4);
      for (let ready = false; !ready;) {
        const head = await receive(16), option = head.getUint32(8);
        await receive(head.getUint32(12));
        const reply = (type: number, data = new Uint8Array(0)) =>
          conn.write(Uint8Array.of(
            ...words(MAGIC.OPTION_REPLY_HIGH, MAGIC.OPTION_REPLY_LOW, option, type, data.length),
            ...data,
          ));
        if (option === OPTION.STRUCTURED_REPLY) {
          await reply(structured ? OPTION_REPLY.ACK : OPTION_REPLY.ERR_UNSUP);
        } else {
          await reply(OPTION_REPLY.INFO, Uint8Array.of(0, 0, ...words(0, MiB), 0, 1));
          await reply(OPTION_REPLY.ACK);
          ready = true;
        }
      }
      for (;;) await behave(conn, await receive(28), connection);
    } finally {
      try {
        conn.close();
      } catch { /* The test has closed it. */ }
    }
  }
}

const words = (...values: number[]) => {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, n) => view.setUint32(4 * n, value));
  return new Uint8Array(view.buffer);
};
const cookieOf = (request: DataView) => [request.getUint32(8), request.getUint32(12)];
const simple = (request: DataView, data: Uint8Array) =>
  Uint8Array.of(...words(MAGIC.SIMPLE_REPLY, 0, ...cookieOf(request)), ...data);
const chunk = (request: DataView, flags: number, type: number, data: Uint8Array) =>
  Uint8Array.of(...words(MAGIC.STRUCTURED_REPLY, flags << 16 | type, ...cookieOf(request), data.length), ...data);
const good = (request: DataView) => new Uint8Array(request.getUint32(24)).fill(7);

const LIES: Record<string, { structured: boolean; lie: (request: DataView) => Uint8Array; says: RegExp }> = {
  "garbage": { structured: false, lie: () => new Uint8Array(64).fill(0x55), says: /sends what is no reply/ },
  "an answer to nothing": {
    structured: false,
    lie: () => words(MAGIC.SIMPLE_REPLY, 0, 99, 99),
    says: /answers what it was not asked/,
  },
  "a structured reply unasked": {
    structured: false,
    lie: (request) => chunk(request, CHUNK_FLAG_DONE, CHUNK.NONE, new Uint8Array(0)),
    says: /was not agreed on/,
  },
  "a simple reply with data": { structured: true, lie: (r) => simple(r, good(r)), says: /a simple reply with data/ },
  "data from before": {
    structured: true,
    lie: (request) => chunk(request, 1, CHUNK.OFFSET_DATA, Uint8Array.of(...words(0, 0), ...good(request))),
    says: /what it was not asked for/,
  },
  "too much data": {
    structured: true,
    lie: (request) =>
      chunk(request, 1, CHUNK.OFFSET_DATA, Uint8Array.of(...words(0, 4096), ...good(request), ...good(request))),
    says: /what it was not asked for/,
  },
  "too little data": {
    structured: true,
    lie: (request) => chunk(request, 1, CHUNK.OFFSET_DATA, Uint8Array.of(...words(0, 4096), 1)),
    says: /less than it was asked for/,
  },
  "a hole beyond the end": {
    structured: true,
    lie: (request) => chunk(request, 1, CHUNK.OFFSET_HOLE, words(0, 4096, 0xffffffff)),
    says: /what it was not asked for/,
  },
  "an error without a number": {
    structured: true,
    lie: (request) => chunk(request, 1, CHUNK.ERROR | 1, new Uint8Array(3)),
    says: /an error without a number/,
  },
  "a chunk of unknown kind": {
    structured: true,
    lie: (request) => chunk(request, 1, 77, new Uint8Array(8)),
    says: /a chunk of no use/,
  },
};
for (const [name, { structured, lie, says }] of Object.entries(LIES)) {
  Deno.test(`a server that lies is left, and asked again: ${name}`, async () => {
    const liar = Liar.listen(structured, async (conn, request, connection) => {
      const answer = connection === 1
        ? lie(request)
        : structured
        ? chunk(request, 1, CHUNK.OFFSET_DATA, Uint8Array.of(...words(0, request.getUint32(20)), ...good(request)))
        : simple(request, good(request));
      // In small pieces, so that every state is left and entered between two reads.
      for (let at = 0; at < answer.length; at += 700) await conn.write(answer.subarray(at, at + 700));
    });
    const disk = await Disk.open(liar.address);
    assert.deepEqual(await disk.read(4096, 2048), new Uint8Array(2048).fill(7));
    assert.match(disk.warnings[0]!, says);
    assert.equal(liar.connections, 2);
    disk.link.close();
    liar.close();
  });
}

Deno.test("a request that every server dies of is answered with an error", async () => {
  const liar = Liar.listen(false, (conn) => conn.close());
  const disk = await Disk.open(liar.address);
  assert.equal(await disk.read(0, 512), null);
  assert.ok(liar.connections >= 4);
  disk.link.close();
  liar.close();
});

Deno.test("what was abandoned is not written to, whatever comes", async () => {
  let release = () => {};
  const held = new Promise<void>((resolve) => release = resolve);
  const liar = Liar.listen(false, async (conn, request) => {
    await held;
    await conn.write(simple(request, good(request)));
  });
  const disk = await Disk.open(liar.address), out = new Uint8Array(4096);
  let ended = false;
  disk.backend.read(0, [out], () => ended = true);
  for (let n = 0; n < 20; n++) {
    disk.pump();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  disk.backend.abandon();
  release();
  assert.deepEqual(await disk.read(0, 512), new Uint8Array(512).fill(7));
  assert.equal(ended, false);
  assert.ok(out.every((byte) => byte === 0));
  disk.link.close();
  liar.close();
});

Deno.test("handshakes that make no sense are refused", async () => {
  const greeting = words(MAGIC.INIT_HIGH, MAGIC.INIT_LOW, MAGIC.OPTION_HIGH, MAGIC.OPTION_LOW);
  const cases: [RegExp, Uint8Array][] = [
    [/closed the connection/, new Uint8Array(0)],
    [/closed the connection/, greeting.subarray(0, 9)],
    [/not an NBD server/, new TextEncoder().encode("SSH-2.0-OpenSSH_9.2p1 Debian")],
    [/the old negotiation/, words(MAGIC.INIT_HIGH, MAGIC.INIT_LOW, 0x00004202, 0x81861253)],
    [/sends what is no reply/, Uint8Array.of(...greeting, 0, 3, ...new Uint8Array(40))],
    [
      /reply makes no sense/,
      Uint8Array.of(...greeting, 0, 3, ...words(MAGIC.OPTION_REPLY_HIGH, MAGIC.OPTION_REPLY_LOW, 8, 1, 0x7fffffff)),
    ],
  ];
  for (const [message, bytes] of cases) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const serving = (async () => {
      const conn = await listener.accept();
      await conn.write(bytes);
      await conn.closeWrite();
      await conn.readable.pipeTo(new WritableStream()).catch(() => {});
    })();
    const address = { kind: "tcp", host: "127.0.0.1", port: listener.addr.port } as const;
    await assert.rejects(Disk.open(address), message);
    await serving;
    listener.close();
  }
});
