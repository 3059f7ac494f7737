// Reads the files that a configuration names. Whether their contents make sense is the loaders' question, in the Worker.

import { HostError, reason } from "../base/errors.ts";
import { MAX_RAM_BYTES } from "../memory/host_map.ts";
import type { MachineConfig, MachineImages, SymbolFile } from "./config.ts";

/** The built-in demo: one image that holds its two guests. Their own files beside it are for a debugger's symbols. */
const DEMO = new URL("../../tests/guests/two_guests/two_guests.elf", import.meta.url);

const demoFile = (name: string) => new URL(`../../tests/guests/two_guests/${name}`, import.meta.url).pathname;
/** The demo's files for a debugger, by context: its hypervisor, and its guests by VMID. */
export const DEMO_SYMBOLS: readonly SymbolFile[] = [
  { context: 1, vmid: null, file: demoFile("two_guests.elf") },
  { context: null, vmid: 1, file: demoFile("guest_a.elf") },
  { context: null, vmid: 2, file: demoFile("guest_b.elf") },
];

/** Reads one regular file that could fit into guest RAM. */
export async function readImage(role: string, path: string | URL): Promise<Uint8Array<ArrayBuffer>> {
  const shown = path instanceof URL ? path.pathname : path;
  try {
    const info = await Deno.stat(path);
    if (info.isDirectory) throw new HostError(`cannot read ${role} ${shown}: is a directory`);
    if (info.isFile && info.size === 0) throw new HostError(`cannot read ${role} ${shown}: is empty`);
    if (info.size > MAX_RAM_BYTES) throw new HostError(`cannot read ${role} ${shown}: is larger than any guest's RAM`);
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof HostError) throw error;
    throw new HostError(`cannot read ${role} ${shown}: ${reason(error)}`);
  }
}

export async function readImages(config: MachineConfig): Promise<MachineImages> {
  const optional = (role: string, path: string | null) => path === null ? null : readImage(role, path);
  const [demo, kernel, initrd, dtb, bios, loaders] = await Promise.all([
    config.demo ? Promise.all([readImage("demo", DEMO)]) : [],
    optional("kernel", config.kernel),
    optional("initrd", config.initrd),
    optional("device tree", config.dtb),
    optional("firmware", config.bios),
    Promise.all(config.loaders.map((l) => "file" in l ? readImage("loader file", l.file) : null)),
  ]);
  return { demo, kernel, initrd, dtb, bios, loaders };
}
