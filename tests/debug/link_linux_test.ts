// `monitor set_link` on Debian's kernel: its network card has no carrier any more, and a replay has none at the same moment.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { Guest, linux } from "../net/guest.ts";
import { GDB, hasGdb } from "./gdb.ts";

const gdb = await hasGdb(), files = await linux();
const LIMIT_MS = 240_000;

async function monitor(socket: string, ...commands: readonly string[]): Promise<string> {
  const lines = [`target extended-remote ${socket}`, ...commands.map((command) => `monitor ${command}`), "detach"];
  const child = new Deno.Command("sh", {
    args: ["-c", 'exec "$0" "$@" 2>&1', GDB, "-q", "-nx", "-batch", ...lines.flatMap((line) => ["-ex", line])],
    stdin: "null",
    stdout: "piped",
    env: { LC_ALL: "C", DEBUGINFOD_URLS: "" },
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const { stdout } = await child.output();
  clearTimeout(timer);
  return new TextDecoder().decode(stdout);
}

Deno.test(
  { name: "a cable that the monitor pulls is seen by Linux, and by a replay", ignore: !gdb || files === null },
  async () => {
    const directory = await Deno.makeTempDir(), log = `${directory}/log`, socket = `${directory}/gdb`;
    const net = ["-netdev", "user,id=n0", "-device", "virtio-net-device,netdev=n0,id=nic0"];
    const guest = new Guest(VITRINE, files!, [...net, "-record", log, "-gdb", `unix:${socket}`]);
    const carrier = (wanted: number) =>
      guest.run(
        `until [ "$(cat /sys/class/net/eth0/carrier)" = ${wanted} ]; do sleep 0.1; done; echo carrier ${wanted}`,
      );
    try {
      await guest.ready();
      await guest.run("ip link set eth0 up");
      assert.equal(await carrier(1), "carrier 1\n");
      const off = await monitor(socket, "info network", "set_link nic0 off");
      assert.match(off, /^nic0 +n0 +virtio-mmio\.31 +[0-9a-f:]{17} +up +yes /m);
      assert.equal(await carrier(0), "carrier 0\n");
      const on = await monitor(socket, "info network", "info virtio net", "set_link n0 on");
      assert.match(on, /^nic0 +n0 +virtio-mmio\.31 +[0-9a-f:]{17} +down +yes /m);
      assert.match(
        on,
        /virtio-net-device, ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK\n +features: .*STATUS.*\n +queue 0: 256 entries/,
      );
      assert.equal(await carrier(1), "carrier 1\n");
      await guest.off();
      const replay = new Run(VITRINE, [
        ...["-m", "192", "-display", "none", "-serial", "stdio", "-kernel", files!.kernel, "-initrd", files!.initrd],
        ...["-append", "console=ttyAMA0 quiet", ...net, "-replay", log],
      ]);
      assert.equal(await replay.end(LIMIT_MS), 0);
      assert.equal(replay.output, guest.output);
    } finally {
      await guest.kill();
      await Deno.remove(directory, { recursive: true });
    }
  },
);
