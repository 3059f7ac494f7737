// A disk on which Debian was installed, with systemd and its own network configuration, boots to a login and a network.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { linux } from "../net/guest.ts";
import { hasTools, inDirectory, runTool } from "../virtio/tools.ts";
import { debianImage } from "./debian_image.ts";

/** For a host that is busy with other things: it takes half a minute of one that is not. */
const LIMIT_MS = 1_200_000;
const TOOLS = ["debootstrap", "mke2fs", "qemu-img", "qemu-aarch64-static"];

async function image(): Promise<string | null> {
  if (await linux() === null) return null;
  try {
    if (!await hasTools(...TOOLS)) throw new Error(`one of ${TOOLS.join(", ")} is not there`);
    return await debianImage();
  } catch (error) {
    console.log(`MISSING a Debian disk: ${(error as Error).message}`);
    if (Deno.env.get("CI")) throw error;
    return null;
  }
}

Deno.test({
  name: "an installed Debian boots from its disk to a login, with a network, and leaves the disk sound",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const base = await image();
    if (base === null) return;
    await inDirectory(async (directory) => {
      const top = `${directory}/top`, raw = `${directory}/raw`;
      await runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top]);
      await using server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen: () => {} },
        () => new Response("words from the host\n"),
      );
      const run = new Run(VITRINE, [
        ...["linux", "-display", "none", "-serial", "stdio", "-drive", `file=${top}`, "-nic", "user"],
        ...["-append", "console=ttyAMA0 quiet root=/dev/vda"],
      ]);
      await run.until("debian login: ", LIMIT_MS);
      await run.type("root\n");
      await run.until("root@debian:~# ", LIMIT_MS);
      const fetch =
        `exec 3<>/dev/tcp/10.0.2.2/${server.addr.port}; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; cat <&3 > /srv/page`;
      // The echo of what is typed does not look like the marks.
      await run.type(
        `until ip -4 addr show eth0 | grep 10.0.2.15; do sleep 1; done; ${fetch}; tail -n 1 /srv/page; ` +
          'findmnt -n -o SOURCE,FSTYPE /; systemctl is-active networking; echo "d""one"\n',
      );
      await run.until("\ndone", LIMIT_MS);
      const said = run.output.replaceAll("\r", "");
      assert.match(said, /inet 10\.0\.2\.15\/24/);
      assert.match(said, /^words from the host$/m);
      assert.match(said, /^\/dev\/vda +ext4$/m);
      assert.match(said, /^active$/m);
      await run.type("systemctl poweroff\n");
      assert.equal(await run.end(LIMIT_MS), 0);
      assert.match((await runTool("qemu-img", ["check", top])).output, /No errors were found/);
      await runTool("qemu-img", ["convert", "-O", "raw", top, raw]);
      await runTool("e2fsck", ["-fn", raw]);
      assert.match((await runTool("debugfs", ["-R", "cat /srv/page", raw])).output, /words from the host/);
    });
  },
});
