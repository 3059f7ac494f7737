import assert from "node:assert/strict";
import { ascii, checksum, textToHex, toHex, writeEscaped } from "../../gdbstub/bytes.ts";
import { PACKETS } from "../../gdbstub/commands.ts";
import { frame, PACKET_BYTES } from "../../gdbstub/framing.ts";
import { Client, damaged, stop } from "./client.ts";
import { copyOf, threeContexts } from "./fake_target.ts";

const HYPERVISOR = "40200000", GUEST = "ffffff8040000000";

/** `data` with escapes, after `head`. */
function binary(head: string, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(head.length + 2 * data.length + 2);
  out.set(ascii(head));
  return out.subarray(0, writeEscaped(data, out, head.length, out.length).end);
}

Deno.test("what qSupported announces is there, and what is unknown gets the empty reply", async () => {
  const target = threeContexts(), client = new Client(target);
  const reply = await client.ask("qSupported:multiprocess+;xmlRegisters=i386");
  for (
    const feature of [
      "multiprocess+",
      "vContSupported+",
      "swbreak+",
      "hwbreak+",
      "exec-events+",
      "ConditionalBreakpoints+",
      "BreakpointCommands+",
      "QStartNoAckMode+",
      "QNonStop+",
      "QThreadEvents+",
      "error-message+",
      "binary-upload+",
      "qSearch:memory+",
      "qXfer:features:read+",
      "qXfer:threads:read+",
      "qXfer:exec-file:read+",
      "qXfer:memory-map:read+",
      "qXfer:osdata:read+",
    ]
  ) assert(reply.split(";").includes(feature), feature);
  assert(parseInt(/PacketSize=([0-9a-f]+)/.exec(reply)![1]!, 16) >= 0x40000);
  for (
    const unknown of ["vMustReplyEmpty", "qTStatus", "qOffsets", "jThing", "QTDP:1", "qXfer:auxv:read::0,10", "", "bs"]
  ) {
    assert.equal(await client.ask(unknown), "", unknown);
  }
  assert.equal(new Set(PACKETS.map(({ name }) => name)).size, PACKETS.length);
  await client.leave();
});

Deno.test("packets are acknowledged until that is switched off", async () => {
  const client = new Client(threeContexts());
  assert.equal(await client.ask("qC"), "QC1");
  assert.equal(client.acks, 1);
  client.send(damaged("qC"));
  client.packet("qC");
  assert.equal(await client.next(), "QC1");
  assert.deepEqual([client.acks, client.naks], [2, 1]);
  client.send("-");
  assert.equal(await client.next(), "QC1");
  assert.equal(await client.ask("QStartNoAckMode"), "OK");
  assert.equal(client.acks, 3);
  assert.equal(await client.ask("qC"), "QC1");
  assert.equal(client.acks, 3);
  client.send(damaged("qC"));
  assert.match(await client.next(), /^E/);
  assert.equal(client.naks, 1);
  await client.leave();
});

Deno.test("a packet is acknowledged when it comes, and what is still worked on is not said twice", async () => {
  const client = new Client(threeContexts());
  assert.equal(await client.ask("qC"), "QC1");
  client.packet(`qRcmd,${textToHex("flood")}`);
  const answer = client.next();
  while (client.acks < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  client.packet("qSymbol::");
  client.send("-");
  while (client.acks < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  client.send(Uint8Array.of(3));
  assert.equal(await answer, textToHex("stopped\n"));
  assert.equal(await client.next(), "");
  await client.leave();
});

Deno.test("a connection stops the machine and says where", async () => {
  const client = await Client.attached(threeContexts());
  const reply = await client.ask("?");
  assert.equal(stop(reply), "T05thread:p1.1;");
  // The frame pointer, stack pointer and pc come with it.
  assert.match(reply, /;20:0000204000000000;/);
  assert.match(reply, /1d:0{16};1f:0{16};/);
  await client.leave();
});

Deno.test("contexts are processes, vCPUs are threads", async () => {
  const client = await Client.attached(threeContexts());
  assert.equal(await client.ask("qfThreadInfo"), "mp1.1,p1.2,p2.1,p3.1");
  assert.equal(await client.ask("qsThreadInfo"), "l");
  assert.equal(await client.ask("qThreadExtraInfo,p2.1"), textToHex("vm 1 vcpu 0, descheduled, exit WFx at EL1"));
  const xml = await client.transfer("threads", "", 100);
  assert.match(xml, /<thread id="p2.1" core="0" name="vm 1 vcpu 0">descheduled, exit WFx at EL1<\/thread>/);
  assert.equal(await client.ask("Hgp2.1"), "OK");
  assert.equal(await client.ask("qC"), "QCp2.1");
  assert.equal(await client.ask("Tp3.1"), "OK");
  assert.match(await client.ask("Tp3.2"), /^E/);
  assert.match(await client.ask("Hgp9.1"), /^E/);
  // A thread that is not there has no registers, least of all another's.
  assert.match(await client.ask("g"), /^E/);
  assert.equal(await client.ask("qAttached:2"), "1");
  await client.leave();
});

Deno.test("without multiprocess extensions there is the hypervisor alone", async () => {
  const client = await Client.attached(threeContexts(), "swbreak+");
  assert.equal(await client.ask("qfThreadInfo"), "m1,2");
  assert.equal(await client.ask("Hg2"), "OK");
  assert.equal(await client.ask("qC"), "QC2");
  assert.equal(stop(await client.ask("?")), "T05thread:1;");
  await client.leave();
});

Deno.test("registers are read and written, each with its own bounds", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const g = await client.ask("g");
  assert.equal(g.length, 788 * 2);
  assert.equal(await client.ask(`G${"11".repeat(8)}${g.slice(16)}`), "OK");
  assert.equal(await client.ask("p0"), "1111111111111111");
  assert.equal(await client.ask("P0=2200000000000000"), "OK");
  assert.equal(await client.ask("p0"), "2200000000000000");
  assert.equal(await client.ask("p21"), "00000000");
  assert.equal((await client.ask("p22")).length, 32);
  assert.equal(await client.ask("p44"), "1900008000000000");
  assert.equal(await client.ask("P44=0100000000000000"), "OK");
  assert.equal(await client.ask("p44"), "0100000000000000");
  assert.equal(await client.ask("P46=0100000000000000"), "E.MIDR_EL1 cannot be written");
  for (const bad of ["p", "pzz", "pffff", "P0=11", "P0", "Pffff=00", "G00", "Gzz", "P44=01000000"]) {
    assert.match(await client.ask(bad), /^E/, bad);
  }
  assert.equal(await client.ask("Hgp2.1"), "OK");
  assert.equal(await client.ask("p0"), "0000000000000000");
  await client.leave();
});

Deno.test("the description groups and types the registers", async () => {
  const client = await Client.attached(threeContexts());
  const xml = await client.transfer("features", "target.xml");
  assert.match(xml, /<architecture>aarch64<\/architecture>/);
  assert.match(xml, /<feature name="org.gnu.gdb.aarch64.core">/);
  assert.match(xml, /<field name="EC" start="26" end="31" type="ESR_EL2_EC_values"\/>/);
  assert.match(xml, /<evalue name="DABT_LOWER" value="36"\/>/);
  assert.match(xml, /<reg name="HCR_EL2" .* regnum="68" group="virtualization" save-restore="no"\/>/);
  assert.match(await client.ask("qXfer:features:read:other.xml:0,100"), /^E/);
  await client.leave();
});

Deno.test("the same address holds each context's own bytes", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const address = "ffffff8040001000";
  assert.equal(await client.ask("Hgp2.1"), "OK");
  assert.equal(await client.ask(`m${address},4`), "00020406");
  assert.equal(await client.ask(`M${address},2:aabb`), "OK");
  assert.equal(await client.ask("Hgp3.1"), "OK");
  assert.equal(await client.ask(`m${address},4`), "00030609");
  assert.equal(await client.ask("Hgp2.1"), "OK");
  assert.equal(await client.ask(`m${address},4`), "aabb0406");
  await client.leave();
});

Deno.test("memory moves as digits and as bytes, whole pages at a time", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const data = Uint8Array.from({ length: 0xf000 }, (_, i) => i * 7 & 0xff);
  assert.equal(await client.ask(binary(`X${HYPERVISOR},${data.length.toString(16)}:`, data)), "OK");
  const read = await client.ask(`x${HYPERVISOR},${data.length.toString(16)}`);
  assert.equal(read[0], "b");
  assert.equal(await client.ask(`m${HYPERVISOR},${data.length.toString(16)}`), toHex(data));
  // Up to where the mapping ends.
  assert.equal((await client.ask(`m${HYPERVISOR},7fffffff`)).length, 0x10000 * 2);
  assert.equal(await client.ask(`X${HYPERVISOR},0:`), "OK");
  assert.equal(await client.ask(`m${HYPERVISOR},0`), "");
  for (const bad of [`m1,1`, `M1,1:00`, "X1,1:a", "x1,1"]) assert.match(await client.ask(bad), /^E/, bad);
  for (const bad of ["m", "m1", "m1,", "mx,1", `M${HYPERVISOR},2:aa`, `X${HYPERVISOR},2:a`, "m1,ffffffffffffffff"]) {
    assert.match(await client.ask(bad), /^E/, bad);
  }
  // Digits only, since older debuggers would take the text for memory.
  assert.equal(await client.ask("m1,1"), "E0e");
  await client.leave();
});

Deno.test("error text goes to debuggers that take it anywhere", async () => {
  const client = await Client.attached(threeContexts(), "multiprocess+;error-message+");
  assert.equal(await client.ask("m1,1"), "E.nothing is mapped at 0x1");
  await client.leave();
});

Deno.test("find searches across pages and over holes", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const context = target.list[0]!;
  context.move(0x40205ffen, ascii("needle"), true);
  const search = (from: string, bytes: string, what: string) =>
    client.ask(binary(`qSearch:memory:${from};${bytes};`, ascii(what)));
  assert.equal(await search(HYPERVISOR, "10000", "needle"), "1,40205ffe");
  assert.equal(await search(HYPERVISOR, "6003", "needle"), "0");
  assert.equal(await search(HYPERVISOR, "6004", "needle"), "1,40205ffe");
  assert.equal(await search("40100000", "200000", "needle"), "1,40205ffe");
  assert.equal(await search(HYPERVISOR, "10000", "haystack"), "0");
  assert.match(await search("0", "ffffffffffffffff", "haystack"), /^E/);
  assert.match(await client.ask("qSearch:memory:0;10;"), /^E/);
  await client.leave();
});

Deno.test("compare-sections has a checksum of memory", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  target.list[0]!.move(0x40205ff0n, ascii("123456789"), true);
  assert.equal(await client.ask("qCRC:40205ff0,9"), "C376e6e7");
  assert.match(await client.ask("qCRC:1,9"), /^E/);
  await client.leave();
});

Deno.test("breakpoints belong to the selected thread's context", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  assert.equal(await client.ask("Hgp3.1"), "OK");
  assert.equal(await client.ask("Z0,ffffff8040000010,4"), "OK");
  assert.equal(stop(await client.ask("vCont;c")), "T05swbreak:;thread:p3.1;");
  assert.equal(await client.ask("z0,ffffff8040000010,4"), "OK");
  assert.equal(target.points.size, 0);
  assert.equal(await client.ask("Hgp2.1"), "OK");
  assert.equal(await client.ask("Z1,ffffff8040000014,4"), "OK");
  assert.equal(stop(await client.ask("vCont;c")), "T05hwbreak:;thread:p2.1;");
  assert.equal(client.console, "vm 1: at a hardware breakpoint\n");
  // Removing what is not there is no error; an unknown kind is one.
  assert.equal(await client.ask("z0,1234,4"), "OK");
  assert.match(await client.ask("Z7,1234,4"), /^E/);
  await client.leave();
  assert.equal(target.points.size, 0);
});

Deno.test("a stop names its kind only to debuggers that know it", async () => {
  const client = await Client.attached(threeContexts(), "multiprocess+");
  await client.ask("Z0,40200010,4");
  assert.equal(stop(await client.ask("vCont;c")), "T05thread:p1.1;");
  await client.leave();
});

Deno.test("watchpoints say what was touched", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const counter = target.list[0]!.counter.toString(16);
  assert.equal(await client.ask(`Z2,${counter},8`), "OK");
  assert.equal(stop(await client.ask("vCont;c")), `T05watch:${counter};thread:p1.1;`);
  assert.equal(await client.ask(`z2,${counter},8`), "OK");
  assert.equal(await client.ask(`Z4,${(target.list[0]!.counter + 3n).toString(16)},1`), "OK");
  assert.match(stop(await client.ask("vCont;c")), /^T05awatch:40208003;/);
  assert.match(await client.ask(`Z2,${counter},0`), /^E/);
  await client.leave();
});

Deno.test("conditions are evaluated by the target, and commands run instead of stopping", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  // x0 == 100: reg 0, const8 100, equal, end.
  assert.equal(await client.ask("Z0,40200010,4;X7,26000022641327"), "OK");
  const point = [...target.points.values()][0]!;
  assert.equal(point.conditions.length, 1);
  assert.equal(stop(await client.ask("vCont;c")), "T05swbreak:;thread:p1.1;");
  assert.equal(await client.ask("p0"), "6400000000000000");
  // The same again changes nothing; another condition replaces it.
  const { id } = point.point;
  assert.equal(await client.ask("Z0,40200010,4;X7,26000022641327"), "OK");
  assert.equal([...target.points.values()][0], point);
  assert.equal(await client.ask("Z0,40200010,4;X7,26000022841327"), "OK");
  assert.deepEqual([...target.points.keys()], [id]);
  assert.equal(stop(await client.ask("vCont;c")), "T05swbreak:;thread:p1.1;");
  assert.equal(await client.ask("p0"), "8400000000000000");
  // printf "hi %d\n", x0, at another address.
  const code = toHex(Uint8Array.of(0x26, 0, 0, 0x22, 0, 0x22, 0, 0x34, 1, 0, 7, ...ascii("hi %d\n\0"), 0x27));
  assert.equal(await client.ask(`Z0,40200008,4;cmds:1,X${(code.length / 2).toString(16)},${code}`), "OK");
  assert.equal(await client.ask("Z0,40200010,4;X7,26000022a41327"), "OK");
  assert.equal(stop(await client.ask("vCont;c")), "T05swbreak:;thread:p1.1;");
  assert.match(client.console, /^(hi \d+\n)+$/);
  for (const bad of ["X7,26", "X2,ffff", "Xzz", "cmds:1", "cmds:x,X1,27", "Y1", "X"]) {
    assert.match(await client.ask(`Z0,40200020,4;${bad}`), /^E/, bad);
  }
  await client.leave();
});

Deno.test("steps are one thread's, ranges end outside", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const pc = async () => (await client.ask("p20")).slice(0, 8);
  assert.equal(await client.ask("vCont?"), "vCont;c;C;s;S;t;r");
  assert.equal(stop(await client.ask("vCont;s:p1.1")), "T05thread:p1.1;");
  assert.equal(await pc(), "04002040");
  assert.equal(stop(await client.ask("vCont;S05:p1.1;c")), "T05thread:p1.1;");
  assert.equal(stop(await client.ask(`vCont;r40200008,40200018:p1.1;c:p1.-1`)), "T05thread:p1.1;");
  assert.equal(await pc(), "18002040");
  // A context that is not running is stepped as well.
  assert.equal(stop(await client.ask("vCont;s:p3.1;c:p3.-1")), "T05thread:p3.1;");
  assert.equal(stop(await client.ask("s")), "T05thread:p3.1;");
  assert.equal(await client.ask("Hcp2.1"), "OK");
  assert.equal(await client.ask("Hgp2.1"), "OK");
  assert.equal(stop(await client.ask("S05;ffffff8040000020")), "T05thread:p2.1;");
  assert.equal(await pc(), "24000040");
  for (const bad of ["vCont", "vCont;", "vCont;q", "vCont;s:p9.1", "vCont;r1:p1.1", "vCont;c:pxx", "sxx", "C"]) {
    assert.match(await client.ask(bad), /^E/, bad);
  }
  await client.leave();
});

Deno.test("a stop selects its thread, without a word", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  await client.ask("Hgp1.1");
  await client.ask("Z0,40200010,4");
  await client.ask("Hgp3.1");
  assert.equal(stop(await client.ask("vCont;c")), "T05swbreak:;thread:p1.1;");
  assert.equal(await client.ask("qC"), "QCp1.1");
  assert.equal(await client.ask("p20"), "1000204000000000");
  await client.leave();
});

Deno.test("a stop in a context that the debugger does not see is told of one that it sees", async () => {
  const target = threeContexts(), client = await Client.attached(target, "swbreak+");
  client.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  target.listener!.stopped({ context: 3, thread: 1, reason: { kind: "signal", signal: 2 } });
  assert.equal(stop(await client.next()), "T02thread:1;");
  assert.equal((await client.ask("g")).length, 788 * 2);
  await client.leave();
  const other = await Client.attached(target);
  await other.ask("D;1");
  other.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  target.listener!.stopped({ context: 1, thread: 2, reason: { kind: "signal", signal: 2 } });
  assert.equal(stop(await other.next()), "T02thread:p2.1;");
  await other.leave();
});

Deno.test("a second stop of a thread that was not resumed is told after gdb has resumed it", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const hit = async (context: number, text: string) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    target.listener!.stopped({ context, thread: 1, reason: { kind: "swbreak" }, text });
    return await client.next();
  };
  client.packet("vCont;c:p1.-1");
  // The first one is no surprise, whichever context it is in.
  assert.equal(stop(await hit(3, "first")), "T05swbreak:;thread:p3.1;");
  client.packet("vCont;c:p2.-1");
  assert.equal(await hit(3, "second"), "T05library:;thread:p3.1;");
  assert.equal(client.console, "first\n");
  assert.equal(stop(await client.ask("vCont;c:p3.-1")), "T05swbreak:;thread:p3.1;");
  assert.equal(client.console, "first\nsecond\n");
  client.packet("vCont;c:p3.-1");
  assert.equal(stop(await hit(3, "third")), "T05swbreak:;thread:p3.1;");
  await client.leave();
});

Deno.test("a virtual machine that appears is an exec, or a hardware breakpoint that is nowhere", async () => {
  for (
    const [features, words] of [["exec-events+;", /^T05exec:2f636f6e7465787433\w+;/], ["", /^T05hwbreak:;/]] as const
  ) {
    const target = threeContexts(), client = await Client.attached(target, `${features}multiprocess+;hwbreak+`);
    client.packet("vCont;c:p1.-1");
    await new Promise((resolve) => setTimeout(resolve, 5));
    target.listener!.stopped({ context: 3, thread: 1, reason: { kind: "appeared" } });
    assert.match(stop(await client.next()), words);
    await client.leave();
  }
});

Deno.test("a break byte stops a running machine, and no other", async () => {
  const client = await Client.attached(threeContexts());
  client.send(Uint8Array.of(3));
  assert.equal(await client.ask("qC"), "QCp1.1");
  client.packet("vCont;c");
  client.send(Uint8Array.of(3));
  assert.equal(stop(await client.next()), "T02thread:p1.1;");
  client.packet("c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  client.send(Uint8Array.of(3, 3, 3));
  assert.equal(stop(await client.next()), "T02thread:p1.1;");
  assert.equal(await client.ask("qC"), "QCp1.1");
  client.packet("vCont;c");
  assert.equal(await client.ask("vCtrlC"), "OK");
  assert.equal(stop(await client.next()), "T02thread:p1.1;");
  await client.leave();
});

Deno.test("a running machine refuses to be resumed", async () => {
  const client = await Client.attached(threeContexts());
  client.packet("vCont;c");
  assert.equal(await client.ask("vCont;c"), "E.the machine is running");
  assert.equal(await client.ask("D;1"), "E.the machine is running");
  client.send(Uint8Array.of(3));
  assert.equal(stop(await client.next()), "T02thread:p1.1;");
  await client.leave();
});

Deno.test("a virtual machine that comes is in the next list, one that goes is reported", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  await client.ask("qfThreadInfo");
  client.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  target.appear(copyOf(target.list[2]!, 4));
  target.vanish(3);
  assert.equal(await client.next(), "W00;process:3");
  assert.equal(await client.ask("qfThreadInfo"), "mp1.1,p1.2,p2.1,p4.1");
  // While the machine stands still it is kept for the next resume, and a stop is never lost for it.
  target.vanish(2);
  assert.equal(await client.ask("vCont;c"), "W00;process:2");
  assert.equal(await client.ask("Hgp4.1"), "OK");
  assert.equal(await client.ask("Z0,ffffff8040000010,4"), "OK");
  assert.equal(stop(await client.ask("vCont;c")), "T05swbreak:;thread:p4.1;");
  target.vanish(4);
  assert.equal(await client.ask("vCont;c"), "W00;process:4");
  await client.leave();
});

Deno.test("threads that begin are reported when asked for", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  assert.equal(await client.ask("QThreadEvents:1"), "OK");
  client.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  target.appear(copyOf(target.list[2]!, 4));
  assert.equal(await client.next(), "T05create:;thread:p4.1;");
  assert.match(await client.ask("QThreadEvents:2"), /^E/);
  await client.leave();
});

Deno.test("the machine's end is reported", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  client.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  target.listener!.ended(3);
  assert.equal(await client.next(), "W03;process:1");
  assert.equal(await client.ask("?"), "W00");
  assert.equal(await client.ask("qfThreadInfo"), "l");
  assert.match(await client.ask("vCont;c"), /^E/);
  assert.match(await client.ask("g"), /^E/);
  await client.leave();
});

Deno.test("detaching lets contexts go one by one, then the machine", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  await client.ask("Hgp2.1");
  await client.ask("Z0,ffffff8040000010,4");
  assert.equal(await client.ask("D;2"), "OK");
  assert.equal(target.points.size, 0);
  assert.equal(await client.ask("qfThreadInfo"), "mp1.1,p1.2,p3.1");
  assert.equal(stop(await client.ask("vAttach;2")), "T00thread:p2.1;");
  assert.equal(await client.ask("qfThreadInfo"), "mp1.1,p1.2,p2.1,p3.1");
  assert.match(await client.ask("vAttach;9"), /^E/);
  assert.equal(await client.ask("D"), "OK");
  assert.equal(target.listener, null);
  assert.equal(await client.ask("?"), "W00");
  assert.match(await client.ask("c"), /^E/);
  assert.equal(stop(await client.ask("vAttach;1")), "T00thread:p1.1;");
  assert.equal(target.attachments, 2);
  await client.leave();
  assert.equal(target.listener, null);
});

Deno.test("the machine is killed and started again", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  await client.ask("qfThreadInfo");
  assert.equal(await client.ask("vKill;2"), "E.a virtual machine is the hypervisor's to end");
  assert.equal(await client.ask("vKill;1"), "OK");
  assert.equal(stop(await client.ask("vRun;")), "T05thread:p1.1;");
  // Its virtual machines went with it.
  assert.deepEqual([await client.ask("vCont;c"), await client.ask("vCont;c")].sort(), [
    "W00;process:2",
    "W00;process:3",
  ]);
  client.packet("R00");
  assert.equal(stop(await client.ask("?")), "T05thread:p1.1;");
  client.packet("k");
  assert.equal(stop(await client.ask("?")), "T05thread:p1.1;");
  assert.deepEqual(target.log, ["kill", "restart", "restart", "kill"]);
  await client.leave();
});

Deno.test("the context's ELF file can be read, and no file of the host", async () => {
  const client = await Client.attached(threeContexts());
  assert.equal(await client.transfer("exec-file", "2"), "/context2/guest_2.elf");
  assert.match(await client.transfer("exec-file", "9"), /^E/);
  assert.match(await client.transfer("exec-file", "../1"), /^E/);
  assert.equal(await client.ask("vFile:setfs:2"), "F0");
  const reply = await client.ask(`vFile:open:${textToHex("/context2/guest_2.elf")},0,0`);
  const fd = /^F([0-9a-f]+)$/.exec(reply)![1]!;
  assert.equal(await client.ask(`vFile:pread:${fd},100,0`), "Fb;ELF of vm 1");
  assert.equal(await client.ask(`vFile:pread:${fd},3,7`), "F3;vm ");
  assert.equal(await client.ask(`vFile:pread:${fd},100,100`), "F0;");
  assert.match(await client.ask(`vFile:fstat:${fd}`), /^F40;/);
  assert.equal(await client.ask(`vFile:close:${fd}`), "F0");
  assert.equal(await client.ask(`vFile:pread:${fd},3,7`), "F-1,9");
  const self = new URL(import.meta.url).pathname;
  for (
    const path of [
      "/etc/passwd",
      self,
      "deno.json",
      "/context2/../../etc/passwd",
      "/context2/guest_3.elf",
      "/context1",
      "",
    ]
  ) {
    assert.equal(await client.ask(`vFile:open:${textToHex(path)},0,0`), "F-1,2", path);
    assert.equal(await client.ask(`vFile:stat:${textToHex(path)}`), "F-1,2", path);
  }
  assert.equal(await client.ask(`vFile:open:${textToHex("/context2/guest_2.elf")},601,1ff`), "F-1,1e");
  assert.equal(await client.ask(`vFile:unlink:${textToHex("/context2/guest_2.elf")}`), "F-1,1e");
  assert.equal(await client.ask(`vFile:pwrite:1,0,x`), "F-1,1e");
  assert.match(await client.ask(`vFile:readlink:${textToHex("/proc/self/exe")}`), /^F-1/);
  assert.equal(await client.ask("vFile:explode:1"), "");
  for (let i = 0; i < 100; i++) await client.ask(`vFile:open:${textToHex("/context2/guest_2.elf")},0,0`);
  assert.equal(await client.ask(`vFile:open:${textToHex("/context2/guest_2.elf")},0,0`), "F-1,18");
  await client.leave();
});

Deno.test("info os has the target's tables, memory-map leaves no hole", async () => {
  const client = await Client.attached(threeContexts());
  assert.match(await client.transfer("osdata"), /<column name="Type">contexts<\/column>/);
  const table = await client.transfer("osdata", "contexts", 50);
  assert.match(table, /<item><column name="id">2<\/column><column name="name">vm 1<\/column><\/item>/);
  assert.match(await client.transfer("osdata", "nothing"), /^E/);
  const map = await client.transfer("memory-map");
  assert.match(map, /<memory type="rom" start="0x0" length="0x8000000"\/>\n<memory type="ram" start="0x8000000"/);
  assert.match(await client.ask("qXfer:osdata:read:contexts:ffff,10"), /^l$/);
  assert.match(await client.ask("qXfer:osdata:read:contexts:x,10"), /^E/);
  assert.equal(await client.ask("qXfer:osdata:write:contexts:0:x"), "");
  await client.leave();
});

Deno.test("monitor commands are one table", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const help = await client.monitor("help");
  for (const name of ["help", "info contexts", "walk [CONTEXT] VA", "catch", "space", "step-into-exceptions"]) {
    assert(help.includes(name), name);
  }
  assert.equal(await client.monitor("info contexts"), "hypervisor\nvm 1\nvm 2\n");
  assert.equal(await client.monitor("  info   exits "), "none\n");
  assert.equal(await client.monitor("i e"), "none\n");
  assert.equal(await client.monitor("walk 2 0x1234"), "walk of 2 0x1234\n");
  assert.equal(await client.monitor("walk"), "walk takes an address\n");
  assert.match(await client.monitor("info"), /is not known/);
  assert.match(await client.monitor("i"), /is not known/);
  assert.match(await client.monitor("bogus"), /try monitor help/);
  assert.equal((await client.monitor("large")).length, 300_001);
  assert.match(await client.ask("qRcmd,zz"), /^E/);
  await client.leave();
});

Deno.test("each inferior has its own address space, each session its own catchpoints", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  await client.ask("Hgp2.1");
  assert.equal(await client.monitor("space"), "auto\n");
  assert.match(await client.monitor("space ipa"), /inferior 2/);
  await client.ask(`m${GUEST},1`);
  assert.equal(target.lastSpace, "ipa");
  await client.ask("Z0,1000,4");
  assert.equal([...target.points.values()][0]!.point.space, "ipa");
  await client.ask("Hgp1.1");
  await client.ask(`m${HYPERVISOR},1`);
  assert.equal(target.lastSpace, "auto");
  assert.match(await client.monitor("space nowhere"), /is not one of/);

  assert.match(await client.monitor("catch exit hvc"), /exit hvc/);
  assert.match(await client.monitor("catch exception el2 svc"), /exception EL2 svc/);
  assert.match(await client.monitor("catch exception 1"), /exception EL1/);
  assert.match(await client.monitor("catch eret"), /eret/);
  assert.deepEqual([...target.catches.values()].map(({ kind, el, class: name }) => [kind, el, name]), [
    ["exit", null, "hvc"],
    ["exception", 2, "svc"],
    ["exception", 1, null],
    ["eret", null, null],
  ]);
  assert.match(await client.monitor("catch exit bogus"), /classes are hvc, wfx/);
  assert.match(await client.monitor("catch eret hvc"), /takes no class/);
  assert.match(await client.monitor("catch delete 999"), /no catchpoint/);
  assert.equal(await client.monitor("catch delete"), "nothing is caught\n");
  assert.equal(target.catches.size, 0);

  await client.ask("vCont;s:p1.1");
  assert.deepEqual(target.lastAction, { kind: "step", intoExceptions: false });
  assert.match(await client.monitor("step-into-exceptions on"), /show exceptions/);
  await client.ask("vCont;s:p1.1");
  assert.deepEqual(target.lastAction, { kind: "step", intoExceptions: true });
  await client.leave();
});

Deno.test("a break ends a monitor command that goes on", async () => {
  const client = await Client.attached(threeContexts());
  client.packet(`qRcmd,${textToHex("flood")}`);
  await new Promise((resolve) => setTimeout(resolve, 20));
  client.send(Uint8Array.of(3));
  assert.equal(await client.next(), textToHex("stopped\n"));
  assert.match(client.console, /^line 0\nline 1\n/);
  await client.leave();
});

Deno.test("semihosting calls go to the debugger's host", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const place = { context: 1, thread: 1 };
  assert.equal(target.call(place, { call: "close", args: [1n] }), false);
  client.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(target.call(place, { call: "open", args: [{ address: 0x1000n, length: 6 }, 0n, 0o644n] }), true);
  assert.equal(target.call(place, { call: "close", args: [1n] }), false);
  assert.equal(await client.next(), "Fopen,1000/6,0,1a4");
  // The debugger reads the name before it answers.
  assert.match(await client.ask(`m${HYPERVISOR},6`), /^[0-9a-f]{12}$/);
  client.packet("F-1,2,C;attachment");
  client.send(Uint8Array.of(3));
  assert.equal(stop(await client.next()), "T02thread:p1.1;");
  assert.deepEqual(target.fileReplies, [{ result: -1, errno: 2, interrupted: true }]);
  client.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(target.call(place, { call: "write", args: [1n, 0x1000n, -1n] }), true);
  assert.equal(await client.next(), "Fwrite,1,1000,ffffffffffffffff");
  // A debugger that goes leaves nobody waiting.
  await client.leave();
  assert.deepEqual(target.fileReplies[1], { result: -1, errno: 5, interrupted: false });
});

Deno.test("what gdb reads for a semihosting call is memory of the vCPU that calls, whichever is selected", async () => {
  const target = threeContexts(), client = await Client.attached(target), buffer = target.list[1]!.start + 0x1000n;
  assert.equal(await client.ask("Hgp1.1"), "OK");
  assert.match(await client.ask(`m${buffer.toString(16)},4`), /^E/);
  client.packet("vCont;c");
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(target.call({ context: 2, thread: 1 }, { call: "write", args: [1n, buffer, 4n] }), true);
  assert.equal(await client.next(), `Fwrite,1,${buffer.toString(16)},4`);
  assert.equal(await client.ask(`m${buffer.toString(16)},4`), "00020406");
  client.packet("F4");
  client.send(Uint8Array.of(3));
  await client.next();
  assert.deepEqual(target.fileReplies, [{ result: 4, errno: 0, interrupted: false }]);
  await client.leave();
});

Deno.test("packets of half a megabyte pass in both directions", async () => {
  const target = threeContexts(), client = await Client.attached(target);
  const context = target.list[0]!, size = PACKET_BYTES / 2 - 64;
  context.map(0x5000_0000n, size);
  const data = Uint8Array.from({ length: size }, (_, i) => i * 31 >> 3 & 0xff);
  assert.equal(await client.ask(binary(`X50000000,${size.toString(16)}:`, data)), "OK");
  const text = await client.ask(`m50000000,${size.toString(16)}`);
  assert.equal(text, toHex(data));
  assert.equal(checksum(frame(ascii(text)).subarray(1, -3)), checksum(ascii(text)));
  client.packet(new Uint8Array(PACKET_BYTES + 1).fill(0x61));
  assert.match(await client.next(), /^E/);
  assert.equal(await client.ask("qC"), "QCp1.1");
  await client.leave();
});
