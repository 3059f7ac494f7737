// Debian's iperf3 for the guest: the program and its libraries, fetched as the kernel is and packed to go behind its
// initramfs. Kept beside the kernel, since the fetching takes much longer than the tests.

import { packCpio } from "../../src/machine/cpio.ts";
import { type LinuxFiles, PrivateApt } from "../../src/machine/fetch_linux.ts";

const PACKAGES = ["iperf3", "libiperf0", "libsctp1", "libssl3", "libc6"];
const LIBRARIES = "usr/lib/aarch64-linux-gnu";
/** The program, and shared libraries by the names that programs ask for. */
function nameOf(path: string): string | null {
  if (/^usr\/bin\/iperf3$/.test(path)) return "usr/bin/iperf3";
  if (/\/ld-linux-aarch64\.so\.1$/.test(path)) return "lib/ld-linux-aarch64.so.1";
  const library = /^(?:usr\/)?lib\/aarch64-linux-gnu\/(lib(?:iperf|sctp|ssl|crypto|c|m)\.so\.\d+)(?:\.\d+)*$/.exec(
    path,
  );
  return library === null ? null : `${LIBRARIES}/${library[1]}`;
}

async function fetchIperf(into: string): Promise<void> {
  const apt = new PrivateApt(`${into}.apt`), files = new Map<string, Uint8Array>();
  await apt.prepare();
  try {
    await apt.run(["update"], () => {});
    await apt.run(["download", ...PACKAGES], () => {});
    for (const name of PACKAGES) {
      for (const [path, data] of await apt.files(name, (path) => nameOf(path) !== null)) files.set(nameOf(path)!, data);
    }
  } finally {
    await apt.remove();
  }
  const directories = ["usr", "usr/bin", "usr/lib", LIBRARIES, "lib"].map((path) =>
    ({ kind: "directory", path }) as const
  );
  const partial = `${into}.${Deno.pid}`;
  await Deno.writeFile(
    partial,
    packCpio([
      ...directories,
      ...[...files].map(([path, data]) => ({ kind: "file", path, data, mode: 0o755 }) as const),
    ]),
  );
  await Deno.rename(partial, into);
}

/** The guest's files with iperf3 in `directory`; null on a host that cannot fetch it, which CI must not be. */
export async function withIperf(files: LinuxFiles, directory: string): Promise<LinuxFiles | null> {
  const packed = `${files.initrd.replace(/\/[^/]*$/, "")}/iperf3.cpio`, initrd = `${directory}/initrd`;
  try {
    if (!await Deno.stat(packed).then(() => true, () => false)) await fetchIperf(packed);
  } catch (error) {
    console.log(`MISSING iperf3 for arm64: ${error instanceof Error ? error.message : error}`);
    if (Deno.env.get("CI")) throw error;
    return null;
  }
  await Deno.copyFile(files.initrd, initrd);
  await Deno.writeFile(initrd, await Deno.readFile(packed), { append: true });
  return { ...files, initrd };
}
