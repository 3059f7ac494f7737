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
  assert.deepEqual(c.serial, { kind: "stdio" });
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

Deno.test("serial backends", () => {
  const serial = (text: string) => config(`-serial ${text}`).serial;
  assert.deepEqual(serial("mon:stdio"), { kind: "stdio" });
  assert.deepEqual(serial("file:/tmp/a,b"), { kind: "file", path: "/tmp/a,b" });
  assert.deepEqual(serial("tcp::1234"), { kind: "tcp", host: "127.0.0.1", port: 1234, server: false, wait: false });
  assert.deepEqual(serial("tcp:[::1]:1,server,nowait"), {
    kind: "tcp",
    host: "::1",
    port: 1,
    server: true,
    wait: false,
  });
  assert.deepEqual(serial("tcp:h:1,server=on"), { kind: "tcp", host: "h", port: 1, server: true, wait: true });
  assert.deepEqual(serial("unix:/s,server=on,wait=off"), { kind: "unix", path: "/s", server: true, wait: false });
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
  ["-device virtio-net-device", /^option -device: "virtio-net-device" is not one of loader/],
  ["-device loader", /^option -device: loader: needs addr/],
  ["-device loader,addr=1,data=256,data-len=1", /data does not fit in 1 bytes/],
  ["-device loader,addr=1,data=1,data-len=9", /data-len: "9" is not from 1 to 8/],
  ["-device loader,file=a,data=1", /exclude each other/],
  ["-device loader,file=a,addr=zz", /addr: "zz" is not a number/],
  ["-serial vc", /^option -serial: "vc" is not one of/],
  ["-serial tcp:1234", /is not tcp:\[HOST\]:PORT/],
  ["-serial tcp::70000", /port 70000 is not from/],
  ["-serial tcp::1,telnet=on", /sub-option "telnet" of tcp: is not known/],
  ["-serial tcp::1,wait=off", /"wait" needs server=on/],
  ["-serial null -serial null", /one serial port: given twice/],
  ["-nic user", /^option -nic: "user" is not one of none/],
  ["-accel kvm", /^option -accel: "kvm" is not one of tcg/],
  ["-S", /^option -S: is not implemented yet/],
  ["-s", /^option -s: is not implemented yet/],
  ["-gdb tcp::1234", /^option -gdb: is not implemented yet/],
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
