// What Debian's guest sees of several network devices: two on one hub talk to each other, and the link of a third follows
// the peers that come and go on its stream.

import assert from "node:assert/strict";
import { VITRINE } from "../../bench/machines.ts";
import { FrameDecoder } from "../../devices/net/stream_framing.ts";
import { freePort, Guest, linux } from "./guest.ts";

const files = await linux();
const nic = (
  id: string,
  netdev: string,
  mac: number,
) => ["-netdev", `${netdev},id=${id}`, "-device", `virtio-net-device,netdev=${id},mac=52:54:00:00:00:0${mac}`];

Deno.test({
  name: "three network devices: two on a hub, one on a stream whose peer comes and goes",
  ignore: files === null,
}, async () => {
  const port = freePort(), stream = `stream,addr.type=inet,addr.host=127.0.0.1,addr.port=${port},reconnect-ms=50`;
  const guest = new Guest(VITRINE, files!, [
    ...nic("a", "hubport,hubid=0", 1),
    ...nic("b", "hubport,hubid=0", 2),
    ...nic("c", stream, 3),
    // User-mode networking is at the hub, too.
    "-netdev",
    "user,id=u,net=10.1.0.0/24,host=10.1.0.9",
    "-netdev",
    "hubport,id=d,hubid=0,netdev=u",
  ]);
  try {
    await guest.ready();
    // By their addresses: the kernel counts devices in an order of its own.
    for (const n of [1, 2, 3]) {
      await guest.run(`n${n}=$(dirname $(grep -l 00:00:0${n} /sys/class/net/*/address)); n${n}=\${n${n}##*/}`);
    }
    // The second one lives in a network namespace, or the kernel would not use the wire.
    await guest.run("unshare -n sleep 10000 & there=$!; sleep 1; ip link set $n2 netns $there");
    await guest.run("ip addr add 10.1.0.1/24 dev $n1; ip link set $n1 up");
    await guest.run('nsenter -n -t $there sh -c "ip addr add 10.1.0.2/24 dev $n2; ip link set $n2 up"');
    const pings = await guest.run("ping -c 3 -i 0.2 -s 1400 -w 20 10.1.0.2");
    assert.match(pings, /3 packets transmitted, 3 packets received/);
    for (const where of ["", "nsenter -n -t $there "]) {
      assert.match(
        await guest.run(`${where}ping -c 2 -i 0.2 -w 20 10.1.0.9`),
        /2 packets transmitted, 2 packets received/,
      );
    }

    const carrier = () => guest.run("cat /sys/class/net/$n3/carrier");
    await guest.run("ip addr add 10.2.0.1/24 dev $n3; ip link set $n3 up");
    for (let n = 0; n < 3; n++) {
      while (await carrier() !== "0\n");
      const listener = Deno.listen({ hostname: "127.0.0.1", port }), peer = await listener.accept();
      while (await carrier() !== "1\n");
      // A frame of the guest's arrives whole: it asks who has an address.
      await guest.run(`ping -c 1 -w 1 10.2.0.${n + 2}`);
      const decoder = new FrameDecoder(), wanted = [10, 2, 0, n + 2];
      for (let found = false; !found;) {
        decoder.received(await peer.read(decoder.room) ?? assert.fail("the stream ended"));
        for (let frame = decoder.next(); frame !== null; frame = decoder.next()) {
          assert.ok(frame !== "garbage");
          found ||= frame[12] === 8 && frame[13] === 6 && wanted.every((byte, i) => frame[38 + i] === byte);
        }
      }
      peer.close();
      listener.close();
    }
    await guest.off();
  } finally {
    await guest.kill();
  }
});
