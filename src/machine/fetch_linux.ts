// `deno task run linux`: Debian's arm64 cloud kernel and its static busybox, packed into an initramfs that ends in a shell;
// `deno task run xen`: the same as the first domain of Debian's Xen.
// The packages come through apt's own download, so with the host's sources, proxies and keys, in a private apt root under
// the cache directory: nothing of the host's package state is read or changed, and no foreign architecture is added. apt
// checks the packages' signatures and hashes; the files that we keep are checked against our own hashes at every start.

import { HostError, reason } from "../base/errors.ts";
import { packCpio } from "./cpio.ts";
import { Progress } from "./progress.ts";
import { filesFromTar } from "./tar.ts";

export interface LinuxFiles {
  readonly kernel: string;
  readonly initrd: string;
  readonly xen: string;
}

/**
 * Debian's kernels: the package that depends on the current one, what that is called, and where its files are kept. The
 * cloud kernel is a third of the generic one's size and has the drivers of our devices, but for the 9p file system.
 */
const KERNELS = {
  cloud: { meta: "linux-image-cloud-arm64", name: /\b(linux-image-[\w.+-]+-cloud-arm64)\b/, directory: "linux" },
  generic: {
    meta: "linux-image-arm64",
    name: /\b(linux-image-[\d][\w.+]*(?:-\d+)*-arm64)\b/,
    directory: "linux-generic",
  },
} as const;
export type Kernel = keyof typeof KERNELS;
/** The package that holds busybox. */
const BUSYBOX_PACKAGE = "busybox-static";
/** The package that depends on the current hypervisor. */
const XEN_PACKAGE = "xen-system-arm64";
const OWN_KERNEL = "pass your own kernel with: deno task run -kernel IMAGE -initrd FILE -append console=ttyAMA0";

/** What was made, with the hashes of the files beside it. */
interface Manifest {
  readonly format: number;
  readonly packages: readonly string[];
  readonly sha256: { readonly [file: string]: string };
}
/** Counted up when the initramfs that we pack changes. */
const FORMAT = 9;
const FILES = ["Image", "initrd.cpio", "xen"] as const;

function cacheDirectory(kernel: Kernel): string {
  const { directory } = KERNELS[kernel];
  const xdg = Deno.env.get("XDG_CACHE_HOME"), home = Deno.env.get("HOME");
  if (xdg?.startsWith("/")) return `${xdg}/vitrine/${directory}`;
  if (home) return `${home}/.cache/vitrine/${directory}`;
  throw new HostError("cannot find a cache directory: neither XDG_CACHE_HOME nor HOME is set");
}

async function sha256(data: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
}

/** The cached files, if they are all there and what they were. */
async function cached(directory: string): Promise<LinuxFiles | null> {
  try {
    const manifest: Manifest = JSON.parse(await Deno.readTextFile(`${directory}/manifest.json`));
    if (manifest.format !== FORMAT) return null;
    for (const file of FILES) {
      if (await sha256(await Deno.readFile(`${directory}/${file}`)) !== manifest.sha256[file]) return null;
    }
    const [kernel, initrd, xen] = FILES.map((file) => `${directory}/${file}`);
    return { kernel: kernel!, initrd: initrd!, xen: xen! };
  } catch {
    // Missing or damaged: fetched again.
    return null;
  }
}

/** Fetches and packs unless that was done before. Throws HostError with what to do instead. */
export async function fetchLinux(kernel: Kernel = "cloud"): Promise<LinuxFiles> {
  const directory = cacheDirectory(kernel);
  const ready = await cached(directory);
  if (ready) return ready;
  const progress = new Progress();
  try {
    await fetchInto(kernel, directory, progress);
  } finally {
    progress.done();
  }
  const fetched = await cached(directory);
  if (!fetched) throw new HostError(`cannot use ${directory}: its files are not what was written`);
  return fetched;
}

async function fetchInto(flavour: Kernel, directory: string, progress: Progress): Promise<void> {
  const apt = new PrivateApt(`${directory}/apt`);
  await apt.prepare();
  await apt.run(["update"], (percent) => progress.show("fetching Debian's list of arm64 packages", percent));
  const { meta, name } = KERNELS[flavour], kernelPackage = await apt.dependency(meta, name);
  const xenPackage = await apt.dependency(XEN_PACKAGE, /\b(xen-hypervisor-[\d.]+-arm64)\b/);
  const packages = [kernelPackage, BUSYBOX_PACKAGE, xenPackage];
  await apt.run(["download", ...packages], (percent) => progress.show(`fetching ${packages.join(", ")}`, percent));

  progress.show("unpacking the kernel", 0);
  const kernel = await apt.files(kernelPackage, (path) => path.startsWith("boot/vmlinuz-") || isOurModule(path));
  const image = [...kernel].find(([path]) => !isOurModule(path))?.[1];
  if (!image) throw new HostError(`cannot unpack ${kernelPackage}: there is no kernel in it`);
  const modules = new Map([...kernel].filter(([path]) => isOurModule(path)));
  progress.show("packing the initramfs", 50);
  const busybox = await apt.file(BUSYBOX_PACKAGE, (path) => /^(usr\/)?bin\/busybox$/.test(path));
  const xen = await apt.file(xenPackage, (path) => /^boot\/xen-[\d.]+-arm64$/.test(path));
  const data = { [FILES[0]]: image, [FILES[1]]: packInitramfs(busybox, modules), [FILES[2]]: xen };

  const hashes: Record<string, string> = {};
  for (const file of FILES) {
    const content = new Uint8Array(data[file]!);
    hashes[file] = await sha256(content);
    await writeWhole(`${directory}/${file}`, content);
  }
  const manifest: Manifest = { format: FORMAT, packages, sha256: hashes };
  await writeWhole(`${directory}/manifest.json`, new TextEncoder().encode(JSON.stringify(manifest, null, 2) + "\n"));
  await apt.remove();
}

/** Replaces a file in one step, so that another run never sees half of it. */
async function writeWhole(path: string, data: Uint8Array): Promise<void> {
  const partial = `${path}.${Deno.pid}`;
  try {
    await Deno.writeFile(partial, data);
    await Deno.rename(partial, path);
  } catch (error) {
    throw new HostError(`cannot write ${path}: ${reason(error)}`);
  }
}

/**
 * The first program: mounts what a shell needs, then gives it the terminal; leaving the shell powers off. With root= on the
 * kernel's command line it goes on with what is on that disk, as a distribution's own initramfs does. busybox's
 * poweroff, halt and reboot signal process 1, which therefore waits for the shell in the background, where traps run.
 */
const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
sh /etc/modules
for word in $(cat /proc/cmdline); do
  case $word in
  root=*) root=\${word#root=} ;;
  init=*) init=\${word#init=} ;;
  ro|rw) mode=$word ;;
  ip=dhcp) dhcp=1 ;;
  esac
done
if [ -n "$root" ] && mkdir /disk && mount -o \${mode:-rw} $root /disk; then
  umount /dev/pts
  for each in proc sys dev; do mount -o move /$each /disk/$each; done
  exec switch_root /disk \${init:-/sbin/init}
fi
hostname vitrine
ip link set lo up
if [ -n "$dhcp" ]; then
  for each in /sys/class/net/eth*; do udhcpc -n -q -i \${each##*/} >/dev/null 2>&1 & done
fi
export HOME=/root PATH=/bin PS1='vitrine:\\w# '
echo
echo "Linux $(uname -r) on $(uname -m). Leave with: poweroff"
echo
trap 'poweroff -f' USR2
trap 'halt -f' USR1
trap 'reboot -f' TERM
start-stop-daemon -S -b -x /etc/shell
while :; do
  sleep 86400 &
  wait $!
done
`;

/** The shell of the console. What another shell starts beside itself is deaf to Ctrl-C, and so are its children. */
const SHELL = `#!/bin/sh
cd /root
setsid cttyhack sh </dev/console >/dev/console 2>&1
poweroff -f
`;

/** What udhcpc does with the address that it was given. */
const LEASE = `#!/bin/sh
case $1 in
deconfig) ip addr flush dev $interface; ip link set $interface up ;;
bound|renew)
  ip addr flush dev $interface
  ip addr add $ip/\${mask:-24} dev $interface
  for each in $router; do ip route add default via $each; done
  for each in $dns; do echo nameserver $each; done > /etc/resolv.conf
  ;;
esac
`;

/** Drivers by the type of device that they are for, each behind what it needs. */
const DRIVERS: Readonly<Record<number, readonly string[]>> = {
  1: ["failover", "net_failover", "virtio_net"],
  2: ["virtio_blk"],
  3: ["virtio_console"],
  4: ["virtio-rng"],
  5: ["virtio_balloon"],
  9: ["netfs", "fscache", "9pnet", "9p", "9pnet_virtio"],
  19: ["vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"],
};
const TRANSPORT = ["virtio_ring", "virtio", "virtio_mmio"];
const MODULES = new Set([...TRANSPORT, ...Object.values(DRIVERS).flat()]);

/** `…/virtio_blk.ko` or, from later releases, `…/virtio_blk.ko.xz` of a kernel package. */
const moduleName = (path: string) => /^(?:usr\/)?lib\/modules\/.*\/([\w-]+)\.ko(?:\.xz)?$/.exec(path)?.[1];
const isOurModule = (path: string) => MODULES.has(moduleName(path) ?? "");

/** The drivers of a kernel with these modules: by their type what it has of them, if it has the last one. */
function driversOf(modules: ReadonlySet<string>): [number, string[]][] {
  return Object.entries(DRIVERS).filter(([, names]) => modules.has(names.at(-1)!)).map(([type, names]) => [
    Number(type),
    names.filter((name) => modules.has(name)),
  ]);
}

/** Loads the drivers of the virtio devices that are there. */
const loadModules = (drivers: readonly (readonly [number, readonly string[]])[]) =>
  `load() { for name; do insmod /lib/modules/$name.ko*; done; }
load ${TRANSPORT.join(" ")}
for alias in $(cat /sys/bus/virtio/devices/*/modalias 2>/dev/null | sort -u); do
  case $alias in
${
    drivers.map(([type, names]) =>
      `  virtio:d${type.toString(16).padStart(8, "0").toUpperCase()}v*) load ${names.join(" ")} ;;`
    ).join("\n")
  }
  esac
done
`;

/** An initramfs around a static busybox. Its links to itself are made at boot, by the busybox that knows its applets. */
export function packInitramfs(
  busybox: Uint8Array,
  modules: ReadonlyMap<string, Uint8Array>,
): Uint8Array<ArrayBuffer> {
  const directories = ["bin", "dev", "proc", "root", "sys", "tmp", "etc", "etc/udhcpc", "lib", "lib/modules"];
  const text = (content: string) => new TextEncoder().encode(content);
  const drivers = driversOf(new Set([...modules.keys()].flatMap((path) => moduleName(path) ?? [])));
  const used = new Set([...TRANSPORT, ...drivers.flatMap(([, names]) => names)]);
  return packCpio([
    ...directories.map((path) => ({ kind: "directory", path }) as const),
    { kind: "device", path: "dev/console", major: 5, minor: 1 },
    { kind: "file", path: "bin/busybox", data: busybox, mode: 0o755 },
    { kind: "link", path: "bin/sh", target: "busybox" },
    ...[...modules].filter(([path]) => used.has(moduleName(path) ?? "")).map(([path, data]) =>
      ({ kind: "file", path: `lib/modules/${path.split("/").at(-1)}`, data, mode: 0o644 }) as const
    ),
    { kind: "file", path: "etc/modules", data: text(loadModules(drivers)), mode: 0o644 },
    { kind: "file", path: "etc/udhcpc/default.script", data: text(LEASE), mode: 0o755 },
    { kind: "file", path: "etc/shell", data: text(SHELL), mode: 0o755 },
    { kind: "file", path: "init", data: text(INIT), mode: 0o755 },
  ]);
}

/** apt with its own state and cache, for arm64 alone, over the host's sources and keys. */
export class PrivateApt {
  constructor(private readonly root: string) {}

  async prepare(): Promise<void> {
    try {
      await Deno.mkdir(`${this.root}/state/lists/partial`, { recursive: true });
      await Deno.mkdir(`${this.root}/cache/archives/partial`, { recursive: true });
      await Deno.mkdir(`${this.root}/packages`, { recursive: true });
      await Deno.writeTextFile(`${this.root}/status`, "");
      await Deno.writeTextFile(`${this.root}/apt.conf`, this.#configuration());
    } catch (error) {
      throw new HostError(`cannot prepare ${this.root}: ${reason(error)}`);
    }
  }

  /** Read after the host's own files, so it has the last word. */
  #configuration(): string {
    return [
      `Dir::State "${this.root}/state";`,
      `Dir::State::status "${this.root}/status";`,
      `Dir::Cache "${this.root}/cache";`,
      'APT::Architecture "arm64";',
      "#clear APT::Architectures;",
      'APT::Architectures { "arm64"; };',
      'Acquire::Languages "none";',
      // The sandbox user could not write into a home directory.
      'APT::Sandbox::User "";',
      ...["APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"].map((hook) =>
        `#clear ${hook};`
      ),
      "",
    ].join("\n");
  }

  #command(program: string, args: readonly string[]): Deno.Command {
    return new Deno.Command(program, {
      args: ["-c", `${this.root}/apt.conf`, ...args],
      cwd: `${this.root}/packages`,
      env: { LC_ALL: "C" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
  }

  /** Runs apt-get; `show` gets percentages of its downloads. */
  async run(args: readonly string[], show: (percent: number) => void): Promise<void> {
    show(0);
    const child = spawn(this.#command("apt-get", ["-qq", "-o", "APT::Status-Fd=1", ...args]));
    const complaints = new Response(child.stderr).text();
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      // dlstatus:<item>:<percent>:<words>
      const percent = [...text.matchAll(/^dlstatus:\d+:([\d.]+):/gm)].at(-1)?.[1];
      if (percent) show(Number(percent));
    }
    const { success } = await child.status;
    if (!success) {
      throw new HostError(
        `cannot fetch Debian's kernel: apt-get ${args[0]}: ${lastError(await complaints)}; ${OWN_KERNEL}`,
      );
    }
  }

  /** The first dependency of a package that matches. */
  async dependency(name: string, pattern: RegExp): Promise<string> {
    const child = spawn(this.#command("apt-cache", ["show", "--no-all-versions", name]));
    const { stdout } = await child.output();
    const depends = /^Depends: (.*)$/m.exec(new TextDecoder().decode(stdout))?.[1];
    const found = depends && pattern.exec(depends)?.[1];
    if (!found) {
      throw new HostError(
        `cannot fetch Debian's kernel: this host's apt sources have no ${name} for arm64; ${OWN_KERNEL}`,
      );
    }
    return found;
  }

  /** One file out of a downloaded package. */
  async file(name: string, wanted: (path: string) => boolean): Promise<Uint8Array> {
    const [first] = (await this.files(name, wanted)).values();
    if (first === undefined) throw new HostError(`cannot unpack ${name}: the expected file is not in it`);
    return first;
  }

  /** Files out of a downloaded package, by their paths. */
  async files(name: string, wanted: (path: string) => boolean): Promise<Map<string, Uint8Array>> {
    const archive = await this.#archive(name);
    const child = spawn(
      new Deno.Command("dpkg-deb", {
        args: ["--fsys-tarfile", archive],
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }),
    );
    const files = await filesFromTar(child.stdout, wanted);
    await child.status;
    return files;
  }

  async #archive(name: string): Promise<string> {
    for await (const entry of Deno.readDir(`${this.root}/packages`)) {
      if (entry.name.startsWith(`${name}_`) && entry.name.endsWith(".deb")) {
        return `${this.root}/packages/${entry.name}`;
      }
    }
    throw new HostError(`cannot unpack ${name}: apt-get did not leave its package`);
  }

  /** Package lists are some 60 MB and soon out of date. */
  async remove(): Promise<void> {
    await Deno.remove(this.root, { recursive: true });
  }
}

function spawn(command: Deno.Command): Deno.ChildProcess {
  try {
    return command.spawn();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new HostError(`cannot fetch Debian's kernel: this host has no apt; ${OWN_KERNEL}`);
    }
    throw new HostError(`cannot run apt: ${reason(error)}`);
  }
}

function lastError(complaints: string): string {
  const lines = complaints.split("\n").filter((line) => line.startsWith("E:"));
  return (lines.at(-1) ?? complaints.trim().split("\n").at(-1) ?? "failed").replace(/^E:\s*/, "");
}
