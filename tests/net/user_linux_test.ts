// The user-mode network under Debian's kernel: an address by DHCP, names, pings, bytes in both directions, many connections
// at once, iperf3, and ports of the host that lead to the guest. Everything on the host is on the loopback.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { VITRINE } from "../../bench/machines.ts";
import { commandHere, freePort, Guest, linux } from "./guest.ts";
import { withIperf } from "./iperf.ts";

const files = await linux(), hostIperf = await commandHere("iperf3");
/** busybox's httpd lets few wait for it. */
const FEW = 10, MANY = 100, BIG_BYTES = 4 << 20;

/** What the host serves: a greeting, many bytes, and a greeting for which all must be there who want it. */
async function serve(run: (port: number, big: Uint8Array) => Promise<void>): Promise<void> {
  const big = new Uint8Array(BIG_BYTES);
  for (let at = 0; at < BIG_BYTES; at += 65536) crypto.getRandomValues(big.subarray(at, at + 65536));
  const all = Promise.withResolvers<void>();
  let waiting = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname !== "/together") return new Response(pathname === "/big" ? big : "hello\n");
    if (++waiting === MANY) all.resolve();
    return all.promise.then(() => new Response("hello\n"));
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
  const web = freePort(), udp = freePort(), inside = freePort(), directory = await Deno.makeTempDir();
  const netdev = `user,id=n,hostname=guest,hostfwd=tcp:127.0.0.1:${web}-:80,hostfwd=udp:127.0.0.1:${udp}-:7000,` +
    `hostfwd=tcp:127.0.0.1:${inside}-:5201`;
  const iperf = hostIperf ? await withIperf(files!, directory) : null;
  await serve(async (port, big) => {
    const guest = new Guest(VITRINE, iperf ?? files!, ["-netdev", netdev, "-device", "virtio-net-device,netdev=n"]);
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
        const loop =
          `for i in $(seq ${MANY}); do wget -q -O - http://10.0.2.2:${port}/together >> /tmp/many & done; wait`;
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
        const all = await Promise.all(Array.from({ length: FEW }, () => get("/index.html")));
        assert.ok(all.every(({ length }) => length === "hello\n".length));
      });
      if (iperf !== null) await step("iperf3 both ways, from the guest and to it", () => runIperf(guest, inside));
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
  }).finally(() => Deno.remove(directory, { recursive: true }));
});

/** What iperf3 says at its end, with --json. */
interface IperfResult {
  readonly error?: string;
  readonly end: Readonly<Record<"sum_sent" | "sum_received", { readonly bytes: number }>>;
}
const IPERF_BYTES = 8 << 20;
function checkIperf(text: string): void {
  const { error, end } = JSON.parse(text) as IperfResult;
  assert.equal(error, undefined);
  assert.ok(end.sum_sent.bytes >= IPERF_BYTES, `${end.sum_sent.bytes} bytes were sent`);
}

async function runIperf(guest: Guest, inside: number): Promise<void> {
  // A server for each: between two clients it does not listen.
  for (const more of ["", "-R", "-P 4"]) {
    const port = freePort(), args = ["-s", "-1", "-B", "127.0.0.1", "-p", String(port), "--forceflush"];
    const server = new Deno.Command("iperf3", { args, stdout: "piped", stderr: "null" }).spawn();
    const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let ended = false;
    void server.status.then(() => ended = true);
    try {
      for (let said = ""; !said.includes("listening"); said += (await reader.read()).value) assert.equal(ended, false);
      checkIperf(await guest.run(`/usr/bin/iperf3 -J -n ${IPERF_BYTES} -c 10.0.2.2 -p ${port} ${more}`));
      while (!(await reader.read()).done);
    } catch (error) {
      if (!ended) server.kill();
      throw error;
    } finally {
      await server.status;
    }
  }
  const listens = "netstat -ltn | grep -q :5201";
  for (const more of [[], ["-R"]]) {
    const wait = (what: string) => `${what} ${listens}; do sleep 0.1; done`;
    await guest.run(`${wait("while")}; /usr/bin/iperf3 -s -1 -D; ${wait("until")}`);
    const args = ["-J", "-n", String(IPERF_BYTES), "-c", "127.0.0.1", "-p", String(inside), ...more];
    checkIperf(new TextDecoder().decode((await new Deno.Command("iperf3", { args }).output()).stdout));
  }
}
