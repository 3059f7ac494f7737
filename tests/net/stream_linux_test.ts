// A stream between two machines whose guests are Debian's kernel: both of ours, and one of them QEMU's.

import assert from "node:assert/strict";
import { type Machine, QEMU, VITRINE } from "../../bench/machines.ts";
import { hasQemu } from "../system/machine.ts";
import { freePort, Guest, linux } from "./guest.ts";

const files = await linux(), qemu = await hasQemu();

const nic = (netdev: string, mac: string) => ["-netdev", netdev, "-device", `virtio-net-device,netdev=n,mac=${mac}`];
const FIRST_MAC = "52:54:00:00:00:01", SECOND_MAC = "52:54:00:00:00:02";

/** Two guests that talk: addresses, pings of several sizes in both directions, and bytes over TCP. */
async function talk(first: [Machine, string], second: [Machine, string]): Promise<void> {
  const extra = (machine: Machine) => machine === QEMU ? ["-nic", "none"] : [];
  const one = new Guest(first[0], files!, [...extra(first[0]), ...nic(first[1], FIRST_MAC)]);
  const two = new Guest(second[0], files!, [...extra(second[0]), ...nic(second[1], SECOND_MAC)]);
  try {
    await Promise.all([one.ready(), two.ready()]);
    for (const [guest, n] of [[one, 1], [two, 2]] as const) {
      assert.equal(await guest.run(`ip addr add 192.168.7.${n}/24 dev eth0 && ip link set eth0 up && echo up`), "up\n");
      assert.equal(await guest.run("cat /sys/class/net/eth0/address"), `${[FIRST_MAC, SECOND_MAC][n - 1]}\n`);
    }
    assert.match(await one.run("ping -c 5 -i 0.2 -w 20 192.168.7.2"), /5 packets transmitted, 5 packets received/);
    assert.match(
      await two.run("ping -c 5 -i 0.2 -s 1472 -w 20 192.168.7.1"),
      /5 packets transmitted, 5 packets received/,
    );
    // 4 MB, whose sums must be the same at both ends.
    for (const [from, to, n] of [[one, two, 2], [two, one, 1]] as const) {
      const sum = await to.run(
        "mkdir /tmp/www; dd if=/dev/urandom of=/tmp/www/data bs=64k count=64 2>/dev/null; sha256sum < /tmp/www/data",
      );
      await to.run("httpd -p 80 -h /tmp/www");
      assert.equal(await from.run(`wget -q -O - http://192.168.7.${n}/data | sha256sum`), sum);
    }
    await Promise.all([one.off(), two.off()]);
  } finally {
    await Promise.all([one.kill(), two.kill()]);
  }
}

Deno.test({
  name: "two machines on a Unix stream talk to each other",
  ignore: files === null,
  fn: async () => {
    const directory = await Deno.makeTempDir(), path = `${directory}/link`;
    try {
      await talk(
        [VITRINE, `stream,id=n,server=on,addr.type=unix,addr.path=${path}`],
        [VITRINE, `stream,id=n,server=off,addr.type=unix,addr.path=${path},reconnect=1`],
      );
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test({
  name: "a machine and QEMU's on a TCP stream talk to each other",
  ignore: files === null || !qemu,
  fn: async () => {
    const port = freePort();
    await talk(
      [VITRINE, `stream,id=n,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=${port},reconnect-ms=200`],
      [QEMU, `stream,id=n,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=${port}`],
    );
  },
});
