// The command line: QEMU's spellings and defaults, and one clear complaint for each kind of mistake.

import assert from "node:assert/strict";
import { featuresLeftOut, type MachineConfig } from "../../src/machine/config.ts";
import { helpText, parseCommandLine } from "../../src/machine/options.ts";
import { OPTIONS } from "../../src/machine/options/table.ts";

const parse = (line: string) => parseCommandLine(line === "" ? [] : line.split(" "));

function config(line: string): MachineConfig {
  const command = parse(line);
  assert(command.kind === "run");
  return command.config;
}

Deno.test("no arguments run the demo on a board with EL2 and GICv3", () => {
  const c = config("");
  assert.equal(c.demo, true);
  assert.deepEqual(c.board, { gicVersion: 3, virtualization: true });
  assert.equal(c.cpu.model, "cortex-a57");
  assert.equal(c.ramSizeBytes, 128 * 2 ** 20);
  assert.equal(c.serial, "serial0");
  assert.deepEqual(c.chardevs, [{ id: "serial0", backend: { kind: "stdio", signal: false }, mux: "auto", log: null }]);
});

Deno.test("an explicit -M virt has QEMU's defaults", () => {
  assert.deepEqual(config("-M virt -kernel Image").board, { gicVersion: 2, virtualization: false });
  assert.equal(config("-M virt,gic-version=2,virtualization=on -kernel I").board.gicVersion, 2);
  assert.deepEqual(config("-M virt,gic-version=3 -kernel Image").board, { gicVersion: 3, virtualization: false });
  assert.deepEqual(config("-machine virt,virtualization=on,gic-version=3 -kernel I").board.virtualization, true);
  assert.equal(config("-M virtualization=off -kernel I").board.gicVersion, 3);
});

Deno.test("one or two dashes, and -- in front, are the same", () => {
  const expected = config("-kernel Image -m 1G -no-reboot");
  assert.deepEqual(config("--kernel Image --m 1024 --no-reboot"), expected);
  assert.deepEqual(config("-- -kernel Image -m 1024M -no-reboot"), expected);
});

Deno.test("a configuration survives JSON", () => {
  const c = config("-kernel I -device loader,addr=0x40000000,data=0x1122334455667788,data-len=8 -d int,mmu");
  assert.deepEqual(JSON.parse(JSON.stringify(c)), c);
});

Deno.test("CPU features", () => {
  const cpu = config("-cpu cortex-a76,lse=off,aes=off,vhe=on").cpu;
  assert.deepEqual(featuresLeftOut(cpu), ["FEAT_LSE", "FEAT_AES", "FEAT_PMULL"]);
  assert.deepEqual(featuresLeftOut(config("").cpu), []);
});

Deno.test("loader devices", () => {
  assert.deepEqual(config("-device loader,file=a.elf,cpu-num=0").loaders, [
    { kind: "file", file: "a.elf", address: null, cpu: 0, raw: false },
  ]);
  assert.deepEqual(config("-device loader,addr=0x10,data=0x1234,data-len=3").loaders, [
    { kind: "data", address: 16, bytes: [0x34, 0x12, 0] },
  ]);
  assert.deepEqual(config("-device loader,addr=0x10,data=0x1234,data-len=2,data-be=on").loaders, [
    { kind: "data", address: 16, bytes: [0x12, 0x34] },
  ]);
  assert.deepEqual(config("-device loader,addr=64,cpu-num=0").loaders, [{ kind: "start", address: 64, cpu: 0 }]);
});

Deno.test("a doubled comma stands for one", () => {
  assert.deepEqual(config("-device loader,file=a,,b,addr=1").loaders, [
    { kind: "file", file: "a,b", address: 1, cpu: null, raw: false },
  ]);
});

const SOCKET = { kind: "socket", server: false, wait: false, telnet: false, noDelay: true, reconnectMs: null };

Deno.test("serial backends", () => {
  const device = (text: string) => config(`-serial ${text}`).chardevs[0]!;
  const serial = (text: string) => device(text).backend;
  const tcp = (host: string, port: number) => ({ kind: "tcp", host, port });
  assert.deepEqual(serial("stdio"), { kind: "stdio", signal: false });
  assert.deepEqual(serial("none"), { kind: "null" });
  assert.deepEqual(serial("pty"), { kind: "pty" });
  assert.deepEqual(serial("pipe:/p"), { kind: "pipe", path: "/p" });
  assert.deepEqual(serial("file:/tmp/a,b"), { kind: "file", path: "/tmp/a,b", append: false, inputPath: null });
  assert.deepEqual(serial("tcp::1234"), { ...SOCKET, address: tcp("127.0.0.1", 1234) });
  assert.deepEqual(serial("tcp:[::1]:1,server,nowait"), { ...SOCKET, address: tcp("::1", 1), server: true });
  assert.deepEqual(serial("tcp:h:1,server=on"), { ...SOCKET, address: tcp("h", 1), server: true, wait: true });
  assert.deepEqual(serial("tcp:h:1,reconnect=2,nodelay=off"), {
    ...SOCKET,
    address: tcp("h", 1),
    reconnectMs: 2000,
    noDelay: false,
  });
  assert.deepEqual(serial("telnet::1,server,nowait"), {
    ...SOCKET,
    address: tcp("127.0.0.1", 1),
    server: true,
    telnet: true,
  });
  const path = { kind: "unix", path: "/s" };
  assert.deepEqual(serial("unix:/s,server=on,wait=off"), { ...SOCKET, address: path, server: true });
  const udp = { kind: "udp", host: "127.0.0.1", localHost: "127.0.0.1" };
  assert.deepEqual(serial("udp::5000"), { ...udp, port: 5000, localPort: 0 });
  assert.deepEqual(serial("udp:h:5000@:6000"), { ...udp, host: "h", port: 5000, localPort: 6000 });
  assert.equal(device("stdio").mux, "auto");
  assert.equal(device("mon:stdio").mux, "on");
  assert.equal(device("mon:telnet::1,server").mux, "on");
  assert.deepEqual(device("tcp::1,server,logfile=/l").log, { path: "/l", append: false });
  assert.equal(config("-nographic").chardevs[0]!.mux, "on");
});

Deno.test("character devices", () => {
  const line = "-chardev socket,id=a,host=h,port=1,server=on,wait=off,telnet=on -serial chardev:a " +
    "-chardev ringbuf,id=b,size=1024 -chardev file,id=c,path=/f,append=on,input-path=/i,logfile=/l,logappend=on,mux=on";
  const { serial, chardevs } = config(line);
  assert.equal(serial, "a");
  const address = { kind: "tcp", host: "h", port: 1 };
  assert.deepEqual(chardevs, [
    { id: "a", backend: { ...SOCKET, address, server: true, telnet: true }, mux: "off", log: null },
    { id: "b", backend: { kind: "ringbuf", sizeBytes: 1024 }, mux: "off", log: null },
    {
      id: "c",
      backend: { kind: "file", path: "/f", append: true, inputPath: "/i" },
      mux: "on",
      log: { path: "/l", append: true },
    },
  ]);
  const backend = (text: string) => config(`-chardev ${text},id=x -serial chardev:x`).chardevs[0]!.backend;
  assert.deepEqual(backend("socket,port=5,ipv6"), { ...SOCKET, address: { kind: "tcp", host: "::1", port: 5 } });
  assert.deepEqual(backend("socket,path=/a,,b,reconnect-ms=50"), {
    ...SOCKET,
    address: { kind: "unix", path: "/a,b" },
    reconnectMs: 50,
  });
  assert.deepEqual(backend("stdio,signal=on"), { kind: "stdio", signal: true });
});

Deno.test("command lines of QEMU that ask for nothing more", () => {
  config("-display none -monitor none -parallel none -nographic -echr 0x14");
  assert.equal(config("-echr 20").escapeKey, 20);
});

const MISTAKES: [string, RegExp][] = [
  ["-foo", /^option -foo is not known/],
  ["disk.img", /^argument "disk.img" is not an option/],
  ["-kernel", /^option -kernel needs FILE/],
  ["-M pc", /^option -M: "pc" is not one of virt/],
  ["-M virt,gic-version=4", /^option -M: gic-version: "4" is not one of 2, 3/],
  ["-M virt,secure=on", /^option -M: sub-option "secure" is not known/],
  ["-M virt,virtualization", /^option -M: sub-option "virtualization" needs =on\|off/],
  ["-cpu cortex-a15", /^option -cpu: "cortex-a15" is not one of cortex-a57/],
  ["-cpu max,sve=on", /^option -cpu: sub-option "sve" is not known/],
  ["-cpu cortex-a57,lse=on", /^option -cpu: cortex-a57 has no lse/],
  ["-m 4G", /^option -m: "4G" is too much RAM/],
  ["-m lots", /^option -m: "lots" is not a size/],
  ["-m 0", /^option -m: "0" is less than/],
  ["-m 1G,slots=2", /^option -m: sub-option "slots" is not known/],
  ["-smp 9", /^option -smp: "9"/],
  ["-smp 2,cores=3", /^option -smp: sockets, cores and threads make 3 CPUs, not 2/],
  ["-smp 4,maxcpus=2", /^option -smp: maxcpus 2 is less than the 4 CPUs/],
  ["-smp cpus=1,dies=2", /sub-option "dies" is not known/],
  ["-append x", /^option -append needs -kernel/],
  ["-initrd x", /^option -initrd needs -kernel/],
  ["-device virtio-gpu-device", /^option -device: "virtio-gpu-device" is not one of loader/],
  ["-device loader", /^option -device: loader: needs addr/],
  ["-device loader,addr=1,data=256,data-len=1", /data does not fit in 1 bytes/],
  ["-device loader,addr=1,data=1,data-len=9", /data-len: "9" is not from 1 to 8/],
  ["-device loader,file=a,data=1", /exclude each other/],
  ["-device loader,file=a,addr=zz", /addr: "zz" is not a number/],
  ["-serial vc", /^option -serial: "vc" is not one of/],
  ["-serial tcp:1234", /is not tcp:\[HOST\]:PORT/],
  ["-serial tcp::70000", /port 70000 is not from/],
  ["-serial tcp::1,tls=on", /^option -serial: tcp: sub-option "tls" is not known/],
  ["-serial tcp::1,server,reconnect=1", /"reconnect" and server=on exclude each other/],
  ["-serial tcp::0", /port 0 needs server=on/],
  ["-serial udp:1", /is not udp:\[HOST\]:PORT/],
  ["-serial pipe:", /names no path/],
  ["-serial chardev:x", /^option -serial: there is no -chardev with id=x/],
  ["-chardev null", /^option -chardev: null: needs id/],
  ["-chardev vc,id=a", /^option -chardev: "vc" is not one of stdio/],
  ["-chardev null,id=a,port=1", /^option -chardev: null: sub-option "port" does not belong to null/],
  ["-chardev socket,id=a", /^option -chardev: socket: needs path, or port/],
  ["-chardev socket,id=a,path=/x,port=1", /exclude each other/],
  ["-chardev socket,id=a,port=1,wait=off", /"wait" needs server=on/],
  ["-chardev ringbuf,id=a,size=1000", /size: "1000" is not a power of two/],
  ["-chardev null,id=a,logappend=on", /"logappend" needs logfile/],
  ["-chardev null,id=a -chardev null,id=a", /two devices with id=a/],
  ["-chardev stdio,id=a", /only one character device can have stdio/],
  ["-monitor stdio", /^option -monitor: "stdio" is not one of none, null/],
  ["-serial tcp::1,wait=off", /"wait" needs server=on/],
  ["-serial null -serial null", /one serial port: given twice/],
  ["-nic tap", /^option -nic: "tap" is not one of user, stream/],
  ["-accel kvm", /^option -accel: "kvm" is not one of tcg/],
  ["-gdb tcp:1234", /^option -gdb: "tcp:1234" is not tcp/],
  ["-symbols 2=a.elf", /^option -symbols needs -gdb or -s/],
  ["-s -symbols guest=a.elf", /^option -symbols: "guest" is no context/],
  ["-d everything", /^option -d: trace group "everything" is not known/],
  ["-D log", /^option -D needs -d/],
  ["-fetch-only", /^option -fetch-only is not known/],
  ["-M virt,gic-version=3", /^nothing to run/],
  ["-M virt,virtualization=on", /^nothing to run: the built-in demo needs gic-version=3/],
];

for (const [line, message] of MISTAKES) {
  Deno.test(`mistake: ${line}`, () => {
    assert.throws(() => parse(line), { message });
  });
}

Deno.test("linux takes every option and --fetch-only", () => {
  const command = parse("linux --fetch-only -cpu max -m 256");
  assert(command.kind === "linux");
  assert.equal(command.draft.fetchOnly, true);
  assert.equal(command.draft.cpuModel, "max");
});

Deno.test("help names every option and sub-option", () => {
  const help = helpText();
  for (const option of OPTIONS) {
    assert.match(help, new RegExp(`-${option.names[0]}\\b`));
    for (const [name, field] of Object.entries(option.fields)) {
      assert(help.includes(`  ${name}=${field.value.form}`) || option.form?.startsWith(field.value.form), name);
    }
  }
});

Deno.test("no two options share a name", () => {
  const names = OPTIONS.flatMap((option) => option.names);
  assert.equal(new Set(names).size, names.length);
});
