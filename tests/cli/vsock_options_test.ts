// -device vhost-vsock-device and virtio-balloon-device: their options and the mistakes in them.

import assert from "node:assert/strict";
import { UsageError } from "../../src/base/errors.ts";
import { parseCommandLine } from "../../src/machine/options.ts";

function devices(line: string) {
  const command = parseCommandLine(["-kernel", "I", "-nic", "none", ...line.split(" ")]);
  assert(command.kind === "run");
  return command.config.virtio;
}

Deno.test("sockets and a balloon", () => {
  const vsock = { kind: "vsock", guestCid: 3, path: "/tmp/v", id: "", slot: null };
  for (const name of ["vhost-vsock-device", "virtio-vsock-device"]) {
    assert.deepEqual(devices(`-device ${name},guest-cid=3,uds=/tmp/v`), [vsock]);
  }
  assert.deepEqual(devices("-device virtio-balloon-device,id=b"), [
    { kind: "balloon", deflateOnOom: false, reportsFreePages: false, id: "b", slot: null },
  ]);
  assert.deepEqual(
    devices("-device virtio-balloon-device,deflate-on-oom=on,free-page-reporting=on,bus=virtio-mmio-bus.3"),
    [{ kind: "balloon", deflateOnOom: true, reportsFreePages: true, id: "", slot: 3 }],
  );
});

const VSOCK = "-device vhost-vsock-device,guest-cid";
const MISTAKES: [string, RegExp][] = [
  ["-device vhost-vsock-device,uds=x", /^option -device: vhost-vsock-device: needs guest-cid/],
  [`${VSOCK}=3`, /needs uds/],
  [`${VSOCK}=2,uds=x`, /guest-cid: "2"/],
  [`${VSOCK}=4294967295,uds=x`, /guest-cid: "4294967295"/],
  [`${VSOCK}=three,uds=x`, /guest-cid: "three"/],
  [`${VSOCK}=3,uds=x ${VSOCK}=3,uds=y`, /two vhost-vsock-devices have 3/],
  [`${VSOCK}=3,uds=x ${VSOCK}=4,uds=x`, /two vhost-vsock-devices have x/],
  [Array.from({ length: 9 }, (_, n) => `${VSOCK}=${n + 3},uds=x${n}`).join(" "), /8 vhost-vsock-devices at most/],
  ["-device virtio-balloon-device -device virtio-balloon-device", /one virtio-balloon-device at most/],
  ["-device virtio-balloon-device,deflate-on-oom=maybe", /"maybe"/],
];
for (const [line, message] of MISTAKES) {
  Deno.test(`mistake: ${line.slice(0, 100)}`, () => {
    assert.throws(() => devices(line), (error: Error) => error instanceof UsageError && message.test(error.message));
  });
}
