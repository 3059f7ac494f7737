// Shared directories on the command line, and what is said when one cannot be opened.

import assert from "node:assert/strict";
import { HostShare } from "../../devices/host/share.ts";
import { UsageError } from "../../src/base/errors.ts";
import type { MachineConfig } from "../../src/machine/config.ts";
import { parseCommandLine } from "../../src/machine/options.ts";
import { inDirectory } from "./tools.ts";

function config(...args: string[]): MachineConfig {
  const command = parseCommandLine(["-kernel", "Image", ...args]);
  assert.equal(command.kind, "run");
  return command.kind === "run" ? command.config : assert.fail();
}
const device = { id: "", slot: null, kind: "9p" };

Deno.test("a shared directory is read-only unless something else is said", () => {
  const fsdev = config("-fsdev", "local,id=x,path=/a,,b", "-device", "virtio-9p-device,fsdev=x,mount_tag=here");
  assert.deepEqual(fsdev.shares, [{ id: "x", path: "/a,b", readOnly: true, securityModel: "none" }]);
  assert.deepEqual(fsdev.virtio, [{ ...device, share: "x", tag: "here" }]);
  const virtfs = config(
    "-virtfs",
    "local,path=/a,mount_tag=here,security_model=mapped-xattr,readonly=off,multidevs=remap",
  );
  assert.deepEqual(virtfs.shares, [{ id: "here", path: "/a", readOnly: false, securityModel: "mapped-xattr" }]);
  assert.deepEqual(virtfs.virtio, [{ ...device, share: "here", tag: "here" }]);
  const two = [
    "-device",
    "virtio-9p,fsdev=x,mount_tag=one,bus=virtio-mmio-bus.3",
    "-device",
    "virtio-9p,fsdev=x,mount_tag=two",
  ];
  assert.deepEqual(config("-fsdev", "local,id=x,path=/a", ...two).virtio.map(({ slot }) => slot), [3, null]);
});

Deno.test("what is wrong about a shared directory is said", () => {
  const wrong: [string[], RegExp][] = [
    [["-fsdev", "local,path=/a"], /option -fsdev: local: needs id/],
    [["-fsdev", "local,id=x"], /needs path/],
    [["-fsdev", "proxy,id=x"], /"proxy" is not one of local/],
    [["-fsdev", "local,id=x,path=/a,security_model=mapped-file"], /"mapped-file" is not one of none, passthrough/],
    [["-fsdev", "local,id=x,path=/a", "-fsdev", "local,id=x,path=/b"], /there are two with id=x/],
    [["-virtfs", "local,path=/a"], /needs mount_tag/],
    [["-virtfs", `local,path=/a,mount_tag=${"x".repeat(33)}`], /more than 32 bytes/],
    [
      ["-virtfs", "local,path=/a,mount_tag=x", "-virtfs", "local,id=y,path=/a,mount_tag=x"],
      /two devices have mount_tag=x/,
    ],
    [["-device", "virtio-9p-device,mount_tag=x"], /needs fsdev/],
    [["-device", "virtio-9p-device,fsdev=x"], /needs mount_tag/],
    [["-device", "virtio-9p-device,fsdev=x,mount_tag=x"], /there is no -fsdev called x/],
  ];
  for (const [args, message] of wrong) {
    assert.throws(
      () => config(...args),
      (error) => error instanceof UsageError && message.test(error.message),
      args.join(" "),
    );
  }
});

Deno.test({
  name: "a directory that cannot be shared is a clear error",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inDirectory(async (directory) => {
      await Deno.writeTextFile(`${directory}/file`, "");
      const open = (path: string) => new HostShare({ path, readOnly: true, securityModel: "none" });
      assert.throws(() => open(`${directory}/none`), /^HostError: cannot share .*\/none: there is no such directory$/);
      assert.throws(() => open(`${directory}/file`), /^HostError: cannot share .*\/file: it is not a directory$/);
      open(directory).dispose();
    }),
});
