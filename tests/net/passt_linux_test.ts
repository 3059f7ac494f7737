// A guest on `-netdev stream` whose other end is passt, which is to QEMU what user-mode networking is here: an address by
// DHCP, bytes from the host and to it. passt is another program's idea of the framing and of what a guest sends.

import assert from "node:assert/strict";
import { VITRINE } from "../../bench/machines.ts";
import { commandHere, freePort, Guest, linux } from "./guest.ts";

const files = await linux(), passt = await commandHere("passt");
/** passt takes what it gives to guests from an interface with a default route. */
const routed = await Deno.readTextFile("/proc/net/route").then((text) => /^\S+\t00000000\t/m.test(text), () => false);
const ADDRESS = "10.99.0.15", GATEWAY = "10.99.0.1", BYTES = 2 << 20;

Deno.test({ name: "a guest behind passt", ignore: files === null || !passt || !routed }, async () => {
  const directory = await Deno.makeTempDir(), path = `${directory}/link`, web = freePort();
  // passt leaves root behind, and makes its socket as nobody.
  await Deno.chmod(directory, 0o777);
  const data = crypto.getRandomValues(new Uint8Array(65536)), big = new Uint8Array(BYTES);
  for (let at = 0; at < BYTES; at += data.length) big.set(data, at);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response(big));
  const args = ["--foreground", "--socket", path, "-a", ADDRESS, "-n", "24", "-g", GATEWAY, "--tcp-ports"];
  const other = new Deno.Command("passt", { args: [...args, `127.0.0.1/${web}:80`], stdout: "null", stderr: "piped" })
    .spawn();
  const complaints = new Response(other.stderr).text();
  let ended = false;
  void other.status.then(() => ended = true);
  let guest: Guest | null = null;
  try {
    while (!await Deno.stat(path).then(() => true, () => false)) {
      if (ended) assert.fail(`passt ended: ${await complaints}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const netdev = `stream,id=n,server=off,addr.type=unix,addr.path=${path},reconnect-ms=100`;
    guest = new Guest(VITRINE, files!, ["-netdev", netdev, "-device", "virtio-net-device,netdev=n"]);
    await guest.ready();
    assert.match(await guest.run("ip link set lo up; udhcpc -i eth0 -n -q 2>&1"), /lease of 10\.99\.0\.15 obtained/);
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", big)).toHex();
    const got = await guest.run(`wget -q -O - http://${GATEWAY}:${server.addr.port}/ | tee /tmp/data | sha256sum`);
    assert.equal(got.slice(0, 64), sum);
    await guest.run("httpd -p 80 -h /tmp");
    const back = await (await fetch(`http://127.0.0.1:${web}/data`)).bytes();
    assert.equal(new Uint8Array(await crypto.subtle.digest("SHA-256", back)).toHex(), sum);
    await guest.off();
  } finally {
    await guest?.kill();
    if (!ended) other.kill();
    await other.status;
    await server.shutdown();
    await Deno.remove(directory, { recursive: true });
  }
});
