// A stream between two machines whose guests are Debian's kernel: both of ours, and one of them QEMU's.

import assert from "node:assert/strict";
import { type Machine, QEMU, VITRINE } from "../../bench/machines.ts";
import { hasQemu } from "../system/machine.ts";
import { freePort, Guest, linux } from "./guest.ts";

const files = await linux(), qemu = await hasQemu();

const nic = (
  netdev: string,
  mac: string,
  id = "n",
) => ["-netdev", `${netdev},id=${id}`, "-device", `virtio-net-device,netdev=${id},mac=${mac}`];
const FIRST_MAC = "52:54:00:00:00:01", SECOND_MAC = "52:54:00:00:00:02";

interface End {
  readonly machine: Machine;
  readonly netdev: string;
  /** A second network between the two, where frames may get lost. */
  readonly datagrams?: string;
}

/** Two guests that talk: addresses, pings of several sizes in both directions, and bytes over TCP. */
async function talk(first: End, second: End): Promise<void> {
  const options = ({ machine, netdev, datagrams }: End, mac: string) => [
    ...(machine === QEMU ? ["-nic", "none"] : []),
    ...nic(netdev, mac),
    ...(datagrams === undefined ? [] : nic(datagrams, mac.replace("54:00", "54:01"), "d")),
  ];
  const one = new Guest(first.machine, files!, options(first, FIRST_MAC));
  const two = new Guest(second.machine, files!, options(second, SECOND_MAC));
  try {
    await Promise.all([one.ready(), two.ready()]);
    for (const [guest, n] of [[one, 1], [two, 2]] as const) {
      // By their addresses: the kernel counts devices in an order of its own.
      for (const k of [0, 1]) await guest.run(`e${k}=$(grep -l 54:0${k} /sys/class/net/*/address | cut -d / -f 5)`);
      assert.equal(await guest.run(`ip addr add 192.168.7.${n}/24 dev $e0 && ip link set $e0 up && echo up`), "up\n");
      assert.equal(await guest.run("cat /sys/class/net/$e0/address"), `${[FIRST_MAC, SECOND_MAC][n - 1]}\n`);
    }
    assert.match(await one.run("ping -c 5 -i 0.2 -w 20 192.168.7.2"), /5 packets transmitted, 5 packets received/);
    assert.match(
      await two.run("ping -c 5 -i 0.2 -s 1472 -w 20 192.168.7.1"),
      /5 packets transmitted, 5 packets received/,
    );
    if (first.datagrams !== undefined) {
      for (const [guest, n] of [[one, 1], [two, 2]] as const) {
        await guest.run(`ip addr add 192.168.8.${n}/24 dev $e1 && ip link set $e1 up`);
      }
      assert.match(await one.run("ping -c 5 -i 0.2 -w 20 192.168.8.2"), /5 packets transmitted, 5 packets received/);
    }
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
        { machine: VITRINE, netdev: `stream,server=on,addr.type=unix,addr.path=${path}` },
        { machine: VITRINE, netdev: `stream,server=off,addr.type=unix,addr.path=${path},reconnect=1` },
      );
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test({
  name: "a machine and QEMU's on a TCP stream, and in datagrams, talk to each other",
  ignore: files === null || !qemu,
  fn: async () => {
    const [port, a, b] = [freePort(), freePort(), freePort()], inet = "type=inet,addr.host=127.0.0.1";
    const datagrams = (from: number, to: number) =>
      `dgram,local.type=inet,local.host=127.0.0.1,local.port=${from},remote.type=inet,remote.host=127.0.0.1,remote.port=${to}`;
    await talk(
      {
        machine: VITRINE,
        netdev: `stream,server=off,addr.${inet},addr.port=${port},reconnect-ms=200`,
        datagrams: datagrams(a, b),
      },
      { machine: QEMU, netdev: `stream,server=on,addr.${inet},addr.port=${port}`, datagrams: datagrams(b, a) },
    );
  },
});
