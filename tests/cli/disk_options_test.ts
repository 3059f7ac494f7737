// -drive, -blockdev, -device virtio-blk-device and the consoles: QEMU's spellings and their mistakes.

import assert from "node:assert/strict";
import { UsageError } from "../../src/base/errors.ts";
import { parseCommandLine } from "../../src/machine/options.ts";
import { virtioSlots } from "../../src/machine/virtio.ts";

function config(line: string) {
  const command = parseCommandLine(["-kernel", "I", ...line.split(" ")]);
  assert(command.kind === "run");
  return command.config;
}

Deno.test("a drive is a file of a format, or an export of a server", () => {
  const source = (line: string) => config(`-drive ${line}`).drives[0]!.source;
  assert.deepEqual(source("file=a,,b.img"), { kind: "file", path: "a,b.img" });
  assert.deepEqual(source("disk.img,format=raw"), { kind: "file", path: "disk.img" });
  const nbd = (address: unknown, exportName = "") => ({ kind: "nbd", address, exportName });
  const tcp = (host: string, port: number) => ({ kind: "tcp", host, port });
  assert.deepEqual(source("file=nbd:host:1234"), nbd(tcp("host", 1234)));
  assert.deepEqual(source("file=nbd:[::1]:1234:exportname=a/b"), nbd(tcp("::1", 1234), "a/b"));
  assert.deepEqual(source("file=nbd:unix:/s:exportname=x"), nbd({ kind: "unix", path: "/s" }, "x"));
  assert.deepEqual(source("file=nbd://host"), nbd(tcp("host", 10809)));
  assert.deepEqual(source("file=nbd+tcp://[::1]:1/a%20b"), nbd(tcp("::1", 1), "a b"));
  assert.deepEqual(source("file=nbd+unix:///x?socket=/s"), nbd({ kind: "unix", path: "/s" }, "x"));
  const { format, readOnly, snapshot, discard, writeBack, unsafe } = config(
    "-drive file=x,format=qcow2,media=cdrom,snapshot=on,discard=unmap,cache=directsync",
  ).drives[0]!;
  assert.deepEqual([format, readOnly, snapshot, discard, writeBack, unsafe], ["qcow2", true, true, true, false, false]);
});

Deno.test("drives of the board come behind the devices that were named; the first device is in the highest transport", () => {
  const { virtio } = config(
    "-drive file=a -drive file=b,if=none,id=x -device virtio-rng-device -device virtio-blk,drive=x",
  );
  assert.deepEqual(virtio.map((device) => device.kind === "blk" ? device.drive : device.kind), ["rng", "x", "virtio0"]);
  const slots = virtioSlots(virtio);
  assert.deepEqual([31, 30, 29, 28].map((slot) => slots[slot]?.kind), ["rng", "blk", "blk", undefined]);
  const placed = virtioSlots(
    config("-device virtio-rng-device,bus=virtio-mmio-bus.31 -device virtio-rng-device").virtio,
  );
  assert.deepEqual([placed[31]?.slot, placed[30]?.slot], [31, null]);
});

Deno.test("nodes are disks, nested, named or as JSON", () => {
  const drive = (line: string) => config(line).drives;
  const nested = drive(
    "-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=x,discard=unmap,file.discard=unmap",
  );
  assert.deepEqual([nested[0]!.id, nested[0]!.source, nested[0]!.format, nested[0]!.discard], [
    "d",
    { kind: "file", path: "x" },
    "qcow2",
    true,
  ]);
  const named = drive("-blockdev file,node-name=f,filename=x -blockdev raw,node-name=d,file=f,read-only=on");
  assert.deepEqual(named.map(({ id, format, readOnly }) => [id, format, readOnly]), [["d", "raw", true]]);
  const json = drive(
    '-blockdev {"driver":"nbd","node-name":"n","server":{"type":"inet","host":"h","port":"7"},"export":"e"}',
  );
  assert.deepEqual(json[0]!.source, {
    kind: "nbd",
    address: { kind: "tcp", host: "h", port: 7 },
    exportName: "e",
  });
  assert.equal(
    config("-blockdev file,node-name=f,filename=x -device virtio-blk-device,drive=f").virtio[0]!.kind,
    "blk",
  );
});

Deno.test("ports are numbered as QEMU's", () => {
  const { virtio } = config(
    "-chardev null,id=a -chardev null,id=b -chardev null,id=c -device virtio-serial-device,id=s " +
      "-device virtserialport,chardev=a,name=x -device virtconsole,chardev=b,bus=s.0 -device virtserialport,chardev=c,nr=7",
  );
  assert(virtio[0]!.kind === "serial");
  assert.deepEqual(virtio[0]!.ports.map(({ number, isConsole, chardev }) => [number, isConsole, chardev]), [
    [0, true, "b"],
    [1, false, "a"],
    [7, false, "c"],
  ]);
  assert.equal(virtio[0]!.maxPorts, 8);
});

const MISTAKES: [string, RegExp][] = [
  ["-drive format=raw", /^option -drive: needs file/],
  ["-drive file=", /names no file/],
  ["-drive file=x,format=vmdk", /format: "vmdk" is not one of raw, qcow2/],
  ["-drive file=x,if=scsi", /if: "scsi" is not one of virtio, none/],
  ["-drive file=x,id=a -drive file=y,id=a", /two drives with id=a/],
  ["-drive file=nbd:x", /is not nbd:HOST:PORT or nbd:unix:PATH/],
  ["-drive file=nbd://h:99999/", /port 99999 is not from/],
  ["-drive file=nbd+unix:///x", /is not nbd:\/\/HOST/],
  ["-drive file=nbd://h,format=qcow2", /an NBD server's image is raw/],
  ["-drive file=nbd://h,snapshot=on", /snapshot needs a file/],
  ["-drive file=x,if=none,serial=s", /serial belongs to if=virtio/],
  ["-device virtio-blk-device", /^option -device: virtio-blk-device: needs drive/],
  ["-device virtio-blk-device,drive=x", /there is no -drive or -blockdev called x/],
  ["-drive file=x,id=a -device virtio-blk-device,drive=a", /drive a has two devices/],
  ["-drive file=x,if=none,id=a -device virtio-blk-device,drive=a,queue-size=100", /"100" is not a power of two/],
  ["-device virtio-rng-device,rng=x", /there is no -object with id=x/],
  ["-device virtio-rng-device,bus=pci.0", /is not virtio-mmio-bus.0 to virtio-mmio-bus.31/],
  [
    "-device virtio-rng-device,bus=virtio-mmio-bus.3 -device virtio-rng-device,bus=virtio-mmio-bus.3",
    /has two devices/,
  ],
  [new Array(33).fill("-device virtio-rng-device").join(" "), /33 virtio devices are too many: 32 is the most/],
  ["-device virtconsole,chardev=x", /needs a virtio-serial-device before it/],
  ["-device virtio-serial-device -device virtconsole", /virtconsole: needs chardev/],
  ["-device virtio-serial-device -device virtconsole,chardev=x", /virtconsole: there is no -chardev with id=x/],
  ["-chardev null,id=a -serial chardev:a -device virtio-serial-device -device virtconsole,chardev=a", /has no mux=on/],
  ["-device virtio-serial-device -device virtserialport,chardev=a,nr=0", /port 0 is a virtconsole's/],
  ["-blockdev file,filename=x", /^option -blockdev: needs node-name/],
  ["-blockdev vmdk,node-name=d,file=x", /driver "vmdk" is not one of/],
  ["-blockdev raw,node-name=d,file=x", /there is no node x/],
  ["-blockdev raw,node-name=d,file.driver=file", /file needs filename/],
  ["-blockdev raw,node-name=d,file.driver=file,file.filename=x,offset=4", /"offset" is not known/],
  ["-blockdev {nonsense", /is not JSON/],
  ["-blockdev nbd,node-name=d,server.type=inet", /server needs/],
  ["-blockdev file,node-name=d,filename=x -blockdev file,node-name=d,filename=x", /two nodes with node-name=d/],
];
for (const [line, message] of MISTAKES) {
  Deno.test(`mistake: ${line.slice(0, 100)}`, () => {
    assert.throws(() => config(line), (error: Error) => error instanceof UsageError && message.test(error.message));
  });
}
