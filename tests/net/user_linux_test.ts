// The user-mode network under Debian's kernel: an address by DHCP, names, pings, bytes in both directions, many connections
// at once, and ports of the host that lead to the guest. Everything on the host is on the loopback.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { VITRINE } from "../../bench/machines.ts";
import { freePort, Guest, linux } from "./guest.ts";

const files = await linux();
const MANY = 40, BIG_BYTES = 4 << 20;

/** What the host serves: a greeting, many bytes, and the number of bytes that it was sent. */
async function serve(run: (port: number, big: Uint8Array) => Promise<void>): Promise<void> {
  const big = new Uint8Array(BIG_BYTES);
  for (let at = 0; at < BIG_BYTES; at += 65536) crypto.getRandomValues(big.subarray(at, at + 65536));
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    return new Response(new URL(request.url).pathname === "/big" ? big : "hello\n");
  });
  try {
    await run(server.addr.port, big);
  } finally {
    await server.shutdown();
  }
}
const hash = async (data: Uint8Array) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(data))).toHex();

Deno.test({ name: "Debian's guest on a user-mode network", ignore: files === null }, async (t) => {
  const web = freePort(), udp = freePort();
  const netdev = `user,id=n,hostname=guest,hostfwd=tcp:127.0.0.1:${web}-:80,hostfwd=udp:127.0.0.1:${udp}-:7000`;
  await serve(async (port, big) => {
    const guest = new Guest(VITRINE, files!, ["-netdev", netdev, "-device", "virtio-net-device,netdev=n"]);
    const step = (name: string, fn: () => Promise<void>) => t.step(name, fn);
    try {
      await guest.ready();
      await step("it gets an address", async () => {
        assert.match(await guest.run("ip link set lo up; udhcpc -i eth0 -n -q 2>&1"), /lease of 10\.0\.2\.15 obtained/);
        assert.match(await guest.run("ip route"), /default via 10\.0\.2\.2 dev eth0/);
        assert.match(await guest.run("cat /etc/resolv.conf"), /nameserver 10\.0\.2\.3/);
      });
      await step("the gateway answers", async () => {
        assert.match(await guest.run("ping -c 5 -i 0.2 -w 20 10.0.2.2"), /5 packets received/);
      });
      await step("it reads from a server of the host's", async () => {
        assert.equal(await guest.run(`wget -q -O - http://10.0.2.2:${port}/`), "hello\n");
        const sum = await guest.run(`wget -q -O - http://10.0.2.2:${port}/big | sha256sum`);
        assert.equal(sum.slice(0, 64), await hash(big));
        assert.match(await guest.run("wget -O - http://10.0.2.2:1/ 2>&1"), /Connection refused/);
      });
      await step("it reads with many connections at once", async () => {
        const loop = `for i in $(seq ${MANY}); do wget -q -O - http://10.0.2.2:${port}/ >> /tmp/many & done; wait`;
        await guest.run(loop);
        assert.equal(await guest.run("wc -l < /tmp/many"), `${MANY}\n`);
      });
      await step("the host reads from it, alone and with many connections at once", async () => {
        const sum = await guest.run(
          `mkdir /tmp/www; dd if=/dev/urandom of=/tmp/www/big bs=64k count=${BIG_BYTES >> 16} 2>/dev/null; ` +
            "echo hello > /tmp/www/index.html; sha256sum < /tmp/www/big",
        );
        await guest.run("httpd -p 80 -h /tmp/www");
        const get = async (path: string) => await (await fetch(`http://127.0.0.1:${web}${path}`)).bytes();
        assert.equal(await hash(await get("/big")), sum.slice(0, 64));
        const all = await Promise.all(Array.from({ length: MANY }, () => get("/index.html")));
        assert.ok(all.every(({ length }) => length === "hello\n".length));
      });
      await step("datagrams go both ways", async () => {
        // busybox has a sender, but no receiver: that one came is seen in the count of those that nobody wanted.
        const unwanted = () => guest.run("grep ^Udp: /proc/net/snmp | tail -1 | cut -d ' ' -f 3");
        const socket = createSocket("udp4");
        await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", () => resolve()));
        const came = new Promise<string>((resolve) => socket.once("message", (data) => resolve(data.toString())));
        await guest.run(`syslogd -R 10.0.2.2:${socket.address().port}; sleep 1; logger from the guest`);
        assert.match(await came, /from the guest/);
        const before = await unwanted();
        socket.send("from the host", udp, "127.0.0.1");
        while (await unwanted() === before);
        await new Promise<void>((resolve) => socket.close(() => resolve()));
      });
      await guest.off();
    } finally {
      await guest.kill();
    }
  });
});
