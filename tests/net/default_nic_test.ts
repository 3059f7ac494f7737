// Which runs have a network without asking for one: Debian's kernel, unless the run is to repeat.

import assert from "node:assert/strict";
import { fetchedConfig, parseCommandLine } from "../../src/machine/options.ts";

const config = (line: string) => {
  const command = parseCommandLine(line.split(" "));
  if (command.kind === "run") return command.config;
  assert(command.kind === "linux" || command.kind === "xen");
  return fetchedConfig(command.kind, command.draft, { kernel: "Image", initrd: "initrd", xen: "xen" });
};

Deno.test("linux has user-mode networking unless something else is said of a network, or the run is to repeat", () => {
  const connected = config("linux");
  assert.deepEqual(connected.netdevs.map(({ id, backend }) => [id, backend.kind]), [["nic0", "user"]]);
  assert.deepEqual(connected.virtio.map(({ kind }) => kind), ["net"]);
  assert.match(connected.append!, / ip=dhcp$/);
  assert.equal(config("linux -append console=ttyAMA0").append, "console=ttyAMA0");
  assert.equal(config("linux -append console=ttyAMA0").netdevs.length, 1);
  for (const line of ["-nic none", "-net none", "-icount auto", "-record log", "-replay log"]) {
    const { netdevs, virtio, append } = config(`linux ${line}`);
    assert.deepEqual([netdevs, virtio, append], [[], [], "console=ttyAMA0 quiet"], line);
  }
  const own = config("linux -nic hubport,hubid=0");
  assert.deepEqual(own.netdevs.map(({ backend }) => backend.kind), ["hub"]);
  assert.equal(own.append, "console=ttyAMA0 quiet");
  for (const line of ["-kernel Image", "xen", "-m 256"]) assert.deepEqual(config(line).netdevs, [], line);
});
