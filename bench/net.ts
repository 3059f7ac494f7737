// `deno task bench --only=net`: the network in the same guest on this program and on QEMU. User-mode networking: bytes in
// both directions over TCP, a byte there and back, and new connections; a stream: raw frames in both directions, with this
// program at the other end. Rates are per second of host time. Beside each: `busy`, the share of time in which the guest's
// CPU was not idle; `host us`, the host's CPU time for each unit in the thread of the guest's CPU and in all others, which other
// programs on the host disturb less than rates.

import { packCpio } from "../src/machine/cpio.ts";
import { fetchLinux } from "../src/machine/fetch_linux.ts";
import { type Machine, QEMU, Run } from "./machines.ts";

const LIMIT_MS = 120_000;
const SECONDS = 4;
const LENGTH_BYTES = 4;
/** Of the frames on the stream; the second one is a full Ethernet frame. */
const FRAME_SIZES = [60, 1514] as const;

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
sh /etc/modules
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
exec </dev/console >/dev/console 2>&1
echo net ready
while read line; do /net $line || echo net $line failed; done
`;

export interface NetRate {
  readonly name: string;
  readonly rate: number;
  readonly busy: number;
  /** Host CPU time of the guest's thread, and of the others, for each unit, in microseconds. */
  readonly guestThreadUs: number;
  readonly otherThreadsUs: number;
}

/** CPU seconds of a process's threads. */
function threadSeconds(pid: number): Map<number, number> {
  const seconds = new Map<number, number>();
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      // Nanoseconds on a CPU, nanoseconds of waiting for one, time slices.
      const [busyNs] = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ");
      seconds.set(Number(name), Number(busyNs) / 1e9);
    } catch {
      // It has ended.
    }
  }
  return seconds;
}

class Guest {
  readonly #run: Run;
  constructor(private readonly machine: Machine, initrd: string, kernel: string, netdev: string) {
    this.#run = new Run(machine, [
      ...["-M", "virt,gic-version=3", "-cpu", "cortex-a57", "-m", "256", "-nographic"],
      ...["-kernel", kernel, "-initrd", initrd, "-append", "console=ttyAMA0 quiet"],
      ...["-netdev", `${netdev},id=n`, "-device", "virtio-net-device,netdev=n"],
      // QEMU's transports are the older version unless told otherwise.
      ...(machine === QEMU ? ["-nic", "none", "-global", "virtio-mmio.force-legacy=false"] : []),
    ]);
  }
  async ready(): Promise<void> {
    await this.#run.until("net ready", LIMIT_MS);
  }

  /** Runs the guest's program once; `during` gets going after it was started. */
  async measure(name: string, command: string, during: () => Promise<void> = async () => {}): Promise<NetRate> {
    const { pid } = this.#run, before = threadSeconds(pid), start = performance.now(), said = this.#run.output.length;
    await this.#run.type(command + "\n");
    const work = during();
    const pattern = new RegExp(`^net ${command.split(" ")[0]} ([\\d.]+) (-?[\\d.]+)`, "m");
    let found: RegExpExecArray | null = null;
    while (found === null) {
      if (performance.now() - start > LIMIT_MS || /net .* failed/.test(this.#run.output.slice(said))) {
        throw new Error(`${this.machine.name}: ${command}: ${this.#run.output.slice(said)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
      found = pattern.exec(this.#run.output.slice(said));
    }
    const seconds = (performance.now() - start) / 1000;
    const used = [...threadSeconds(pid)].map(([id, at]) => at - (before.get(id) ?? 0)).toSorted((a, b) => b - a);
    await work;
    // The one that used most is the guest's; where that is idle, it hardly matters which.
    const rest = used.slice(1).reduce((sum, each) => sum + each, 0);
    const rate = Number(found[1]), busy = Number(found[2]), usPerUnit = (cpu: number) => cpu / seconds / rate * 1e6;
    return { name, rate, busy, guestThreadUs: usPerUnit(used[0]!), otherThreadsUs: usPerUnit(rest) };
  }
  async end(): Promise<void> {
    await this.#run.end(0);
  }
}

/** The host's side of the TCP tests: what is sent is thrown away, what is read is zeros, and single bytes come back. */
function serve(): { readonly ports: Readonly<Record<"sink" | "source" | "echo", number>>; close(): void } {
  const listeners: Deno.TcpListener[] = [];
  const listen = (use: (conn: Deno.TcpConn) => Promise<void>) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    listeners.push(listener);
    void (async () => {
      for await (const conn of listener) {
        conn.setNoDelay(true);
        use(conn).catch(() => {}).finally(() => conn.close());
      }
    })();
    return listener.addr.port;
  };
  const block = 256 * 1024;
  const ports = {
    sink: listen(async (conn) => {
      for (const buffer = new Uint8Array(block); await conn.read(buffer) !== null;);
    }),
    source: listen(async (conn) => {
      for (const buffer = new Uint8Array(block);;) await conn.write(buffer);
    }),
    echo: listen(async (conn) => {
      const buffer = new Uint8Array(16);
      for (let count; (count = await conn.read(buffer)) !== null;) await conn.write(buffer.subarray(0, count));
    }),
  };
  return { ports, close: () => listeners.forEach((listener) => listener.close()) };
}

async function measureUser(machine: Machine, files: { kernel: string; initrd: string }): Promise<NetRate[]> {
  const server = serve(), { sink, source, echo } = server.ports;
  const guest = new Guest(machine, files.initrd, files.kernel, "user");
  try {
    await guest.ready();
    // Once for the translators.
    await guest.measure("", `send 10.0.2.2 ${sink} 1`);
    return [
      await guest.measure("user: out, MB/s", `send 10.0.2.2 ${sink} ${SECONDS}`),
      await guest.measure("user: in, MB/s", `receive 10.0.2.2 ${source} ${SECONDS}`),
      await guest.measure("user: requests/s", `request 10.0.2.2 ${echo} ${SECONDS}`),
      await guest.measure("user: connections/s", `connect 10.0.2.2 ${echo} ${SECONDS}`),
    ];
  } finally {
    await guest.end();
    server.close();
  }
}

async function measureStream(machine: Machine, files: { kernel: string; initrd: string }): Promise<NetRate[]> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const netdev = `stream,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=${listener.addr.port}`;
  const guest = new Guest(machine, files.initrd, files.kernel, netdev), rates: NetRate[] = [];
  const conn = await listener.accept();
  const drained = (async () => {
    for (const buffer = new Uint8Array(1 << 20); await conn.read(buffer).catch(() => null) !== null;);
  })();
  try {
    await guest.ready();
    for (const bytes of FRAME_SIZES) {
      rates.push(await guest.measure(`stream: ${bytes} bytes out, frames/s`, `frames eth0 ${bytes} ${SECONDS}`));
    }
    for (const bytes of FRAME_SIZES) {
      const one = new Uint8Array(LENGTH_BYTES + bytes), view = new DataView(one.buffer);
      view.setUint32(0, bytes);
      one.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x88, 0xb5], LENGTH_BYTES);
      const count = Math.floor((256 * 1024) / one.length), many = new Uint8Array(count * one.length);
      for (let n = 0; n < count; n++) many.set(one, n * one.length);
      const flood = async () => {
        await new Promise((resolve) => setTimeout(resolve, 300));
        for (const end = performance.now() + (SECONDS + 1) * 1000; performance.now() < end;) {
          for (let at = 0; at < many.length;) at += await conn.write(many.subarray(at));
        }
      };
      rates.push(await guest.measure(`stream: ${bytes} bytes in, frames/s`, `count eth0 0 ${SECONDS}`, flood));
    }
    return rates;
  } finally {
    await guest.end();
    conn.close();
    listener.close();
    await drained;
  }
}

/** Everything, on each of the machines, one after the other. */
export async function measureNet(machines: readonly Machine[]): Promise<NetRate[][]> {
  const directory = await Deno.makeTempDir({ prefix: "vitrine-bench-" });
  try {
    const { kernel, initrd } = await fetchLinux(), files = { kernel, initrd: `${directory}/initrd` };
    await Deno.copyFile(initrd, files.initrd);
    const program = await Deno.readFile(new URL("net/net", import.meta.url));
    const ours = packCpio([
      { kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(INIT) },
      { kind: "file", path: "net", mode: 0o755, data: program },
    ]);
    await Deno.writeFile(files.initrd, ours, { append: true });
    const results: NetRate[][] = machines.map(() => []);
    for (const part of [measureUser, measureStream]) {
      for (const [n, machine] of machines.entries()) results[n]!.push(...await part(machine, files));
    }
    return results;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
