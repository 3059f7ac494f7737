// Runs the real gdb, in batch, against a stub.

import { startGdbServer } from "../../gdbstub/server.ts";
import { FakeContext, FakeTarget } from "./fake_target.ts";

/** The real gdb; VITRINE_GDB names another one than the host's. */
export const GDB = Deno.env.get("VITRINE_GDB") ?? "gdb-multiarch";

const GUESTS = new URL("../guests/two_guests/", import.meta.url);

/** Loads an ELF file's segments at their virtual addresses, as the context's memory. */
function load(context: FakeContext, elf: Uint8Array): void {
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength);
  const table = Number(view.getBigUint64(32, true)), size = view.getUint16(54, true), count = view.getUint16(56, true);
  for (let i = 0; i < count; i++) {
    const at = table + i * size;
    if (view.getUint32(at, true) !== 1) continue;
    const offset = Number(view.getBigUint64(at + 8, true)), address = view.getBigUint64(at + 16, true);
    const fileBytes = Number(view.getBigUint64(at + 32, true)), memoryBytes = Number(view.getBigUint64(at + 40, true));
    context.map(address, Math.max(memoryBytes, 1));
    context.move(address, elf.slice(offset, offset + fileBytes), true);
  }
  context.exec = elf;
}

/** The demo's hypervisor and its two guests, which are linked to one virtual address, with their ELF files. */
export async function demoTarget(vcpus = 2): Promise<FakeTarget> {
  const contexts = [
    new FakeContext(1, "hypervisor", "two_guests.elf", 0x40200000n, vcpus),
    new FakeContext(2, "vm 1", "guest_a.elf", 0xffffff8040000000n),
    new FakeContext(3, "vm 2", "guest_b.elf", 0xffffff8040000000n),
  ];
  const target = new FakeTarget(contexts);
  for (const context of contexts) load(context, await Deno.readFile(new URL(context.execFile!, GUESTS)));
  return target;
}

export interface GdbRun {
  readonly output: string;
  readonly notices: readonly string[];
}

/** Runs gdb's commands after those of `first` and `connect ADDRESS`. */
export async function runGdb(
  target: FakeTarget,
  commands: readonly string[],
  connect = "target extended-remote",
  first: readonly string[] = [],
): Promise<GdbRun> {
  const notices: string[] = [];
  const server = await startGdbServer(target, { kind: "tcp", host: "127.0.0.1", port: 0 }, {
    notice: (line) => notices.push(line),
    failed: (error) => notices.push(`FAILED ${error instanceof Error ? error.stack : error}`),
  });
  const { port } = server.address as { port: number };
  const lines = ["set pagination off", "set confirm off", ...first, `${connect} 127.0.0.1:${port}`, ...commands];
  // Both streams in one, in the order in which gdb writes them.
  const child = new Deno.Command("sh", {
    args: ["-c", 'exec "$0" "$@" 2>&1', GDB, "-q", "-nx", "-batch", ...lines.flatMap((line) => ["-ex", line])],
    stdin: "null",
    stdout: "piped",
    env: { LC_ALL: "C", DEBUGINFOD_URLS: "" },
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  const { stdout } = await child.output();
  clearTimeout(timer);
  await server.close();
  return { output: new TextDecoder().decode(stdout), notices };
}
