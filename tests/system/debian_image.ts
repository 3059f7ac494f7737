// A disk with an installed Debian, as debootstrap makes one for arm64 (README, "Your own Debian"). It takes minutes, so it
// is kept in the user's cache directory, under a name that says what it was made by.

import { runTool } from "../virtio/tools.ts";

const SUITE = "bookworm", SIZE = "640M";
const PACKAGES = ["systemd-sysv", "udev", "ifupdown", "isc-dhcp-client", "iproute2"];

/** What the installed system is told; on a busy host its devices may take long to appear. */
const FILES: Readonly<Record<string, string>> = {
  "etc/hostname": "debian\n",
  "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
  "etc/network/interfaces.d/eth0": "allow-hotplug eth0\niface eth0 inet dhcp\n",
  "etc/systemd/system.conf.d/patience.conf": "[Manager]\nDefaultDeviceTimeoutSec=20min\nDefaultTimeoutStartSec=20min\n",
};

/** Lets the kernel start arm64 programs, for the processes of one user namespace alone (Linux 6.7). */
const BINFMT = [
  ":vitrine-arm64:M::",
  String.raw`\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:`,
  String.raw`\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:`,
].join("");
/** With F the interpreter is opened now, and found from inside a chroot too. */
const REGISTER =
  'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && printf %s "$1" > /proc/sys/fs/binfmt_misc/register';

/** Everything that decides what the image is. */
async function recipe(): Promise<string> {
  const text = JSON.stringify([SUITE, SIZE, PACKAGES, FILES]);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return hash.toHex().slice(0, 12);
}

/** The image, made unless that was done before. Never to be written to. Throws when it cannot be made here. */
export async function debianImage(): Promise<string> {
  const home = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`, cache = `${home}/vitrine/debian`;
  const image = `${cache}/${SUITE}-${await recipe()}.img`;
  if (await Deno.stat(image).then(() => true, () => false)) return image;
  if (Deno.uid() !== 0) throw new Error("debootstrap needs root");
  await Deno.mkdir(cache, { recursive: true });
  const work = await Deno.makeTempDir({ dir: cache }), root = `${work}/root`;
  try {
    await runTool("debootstrap", [
      ...["--foreign", "--arch=arm64", "--variant=minbase", `--include=${PACKAGES.join(",")}`, SUITE, root],
    ]);
    await secondStage(root);
    for (const [path, content] of Object.entries(FILES)) {
      await Deno.mkdir(`${root}/${path.replace(/[^/]*$/, "")}`, { recursive: true });
      await Deno.writeTextFile(`${root}/${path}`, content);
    }
    const shadow = await Deno.readTextFile(`${root}/etc/shadow`);
    await Deno.writeTextFile(`${root}/etc/shadow`, shadow.replace(/^root:[^:]*:/m, "root::"));
    await runTool("mke2fs", ["-q", "-t", "ext4", "-d", root, `${work}/image`, SIZE]);
    await Deno.rename(`${work}/image`, image);
    return image;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

/** Configures the packages, by their own arm64 programs. */
async function secondStage(root: string): Promise<void> {
  // What debootstrap leaves where it takes the host for a container.
  await Deno.remove(`${root}/proc`).catch(() => {});
  await Deno.mkdir(`${root}/proc`, { recursive: true });
  const quick = `${root}/etc/dpkg/dpkg.cfg.d/quick`;
  await Deno.writeTextFile(quick, "force-unsafe-io\n");
  // As "lxc" it does not make device files, which are there already.
  const configure = 'container=lxc exec chroot "$2" /debootstrap/debootstrap --second-stage';
  const knowsArm = await runTool("chroot", [root, "/usr/bin/true"]).then(() => true, () => false);
  const interpreter = (await runTool("sh", ["-c", "command -v qemu-aarch64-static"])).output.trim();
  const script = knowsArm ? configure : `${REGISTER} && ${configure}`;
  await inNamespace(script, [`${BINFMT}${interpreter}:F`, root]);
  await Deno.remove(quick);
  for await (const { name } of Deno.readDir(`${root}/var/cache/apt/archives`)) {
    if (name.endsWith(".deb")) await Deno.remove(`${root}/var/cache/apt/archives/${name}`);
  }
}

/** Runs a shell script as the root of a user namespace in which everybody is who they are outside. */
async function inNamespace(script: string, args: readonly string[]): Promise<void> {
  const child = new Deno.Command("unshare", {
    args: ["-U", "-m", "-p", "-f", "sh", "-c", `read go && ${script}`, "sh", ...args],
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
    ...{ clearEnv: true, stdin: "piped", stdout: "piped", stderr: "piped" },
  }).spawn();
  const output = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  const namespace = (pid: number | "self") => Deno.readLink(`/proc/${pid}/ns/user`);
  while (await namespace(child.pid) === await namespace("self")) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  for (const map of ["uid_map", "gid_map"]) await Deno.writeTextFile(`/proc/${child.pid}/${map}`, "0 0 65536\n");
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("go\n"));
  await writer.close();
  const { success } = await child.status, [said, complained] = await output;
  if (!success) throw new Error(`debootstrap's second stage failed:\n${said.slice(-1500)}\n${complained.slice(-1500)}`);
}
