// A recorded run with a network repeats without one: what the guest was sent comes from the log.

import assert from "node:assert/strict";
import { VITRINE } from "../../bench/machines.ts";
import { Run } from "../../bench/machines.ts";
import { freePort, Guest, linux } from "./guest.ts";

const files = await linux();
const LIMIT_MS = 240_000;

Deno.test({ name: "frames of a recorded run come again in its replay", ignore: files === null }, async () => {
  const directory = await Deno.makeTempDir(), log = `${directory}/log`, port = freePort();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port, onListen() {} },
    () => new Response(`${crypto.randomUUID()}\n`),
  );
  const net = ["-netdev", "user,id=n", "-device", "virtio-net-device,netdev=n"];
  const guest = new Guest(VITRINE, files!, [...net, "-record", log]);
  try {
    await guest.ready();
    await guest.run("udhcpc -i eth0 -n -q 2>&1; ping -c 2 10.0.2.2");
    const told = await guest.run(`for i in 1 2 3; do wget -q -O - http://10.0.2.2:${port}/; done`);
    assert.match(told, /^([0-9a-f-]{36}\n){3}$/);
    await guest.off();
    await server.shutdown();
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
});
