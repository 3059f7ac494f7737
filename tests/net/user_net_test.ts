// ARP, ICMP, DHCP and UDP of the user-mode network, and what it must not let through.

import assert from "node:assert/strict";
import { foldChecksum, NET_HEADER_BYTES, sum16 } from "../../devices/net/offload.ts";
import { formatIp, LOOPBACK_IP, parseIp } from "../../devices/net/user/address.ts";
import { get16, get32, PROTOCOL, put16, put32, readIp } from "../../devices/net/user/packet.ts";
import { BROADCAST, ethernet, MAC, record } from "./ends.ts";
import { DNS_IP, FakeHost, FakeStream, GUEST_IP, GuestTcp, HOST_IP, readUdp, RESOLVER } from "./user_guest.ts";

function askArp(host: FakeHost, target: number): Uint8Array | undefined {
  const arp = new Uint8Array(28);
  put32(arp, 0, 0x0001_0800);
  put16(arp, 4, 0x0604);
  put16(arp, 6, 1);
  arp.set(MAC, 8);
  put32(arp, 14, GUEST_IP);
  put32(arp, 24, target);
  host.net.record(record(ethernet(BROADCAST, 0x0806, arp)));
  return host.take()[0];
}

Deno.test("ARP finds the gateway and the name server, and nobody else", () => {
  const host = new FakeHost(), reply = askArp(host, HOST_IP)!;
  assert.equal(get16(reply, 20), 2);
  assert.equal(get32(reply, 28), HOST_IP);
  assert.deepEqual(reply.subarray(0, 6), MAC);
  assert.notEqual(askArp(host, DNS_IP), undefined);
  assert.equal(askArp(host, GUEST_IP), undefined);
  assert.equal(askArp(host, HOST_IP + 50), undefined);
});

Deno.test("the gateway answers pings", () => {
  const host = new FakeHost(), ping = Uint8Array.from({ length: 64 }, (_, n) => n);
  ping.set([8, 0, 0, 0]);
  put16(ping, 2, foldChecksum(sum16(ping, 0, 64)));
  host.sendIp(HOST_IP, PROTOCOL.ICMP, ping);
  const { data, from, to } = readIp(host.take()[0]!)!;
  assert.deepEqual([from, to, data[0]], [HOST_IP, GUEST_IP, 0]);
  assert.equal(foldChecksum(sum16(data, 0, 64)), 0);
  assert.deepEqual(data.subarray(4), ping.subarray(4));
  host.sendIp(parseIp("192.0.2.1")!, PROTOCOL.ICMP, ping);
  assert.deepEqual(host.take(), []);
});

/** A packet of the guest's in pieces, each with its place and whether others follow. */
function pieces(data: Uint8Array, each: number) {
  return Array.from({ length: Math.ceil(data.length / each) }, (_, n) => {
    const piece = data.subarray(n * each, (n + 1) * each);
    return { piece, place: (n * each >>> 3) | ((n + 1) * each < data.length ? 0x2000 : 0) };
  });
}
function largePing(bytes: number): Uint8Array {
  const ping = Uint8Array.from({ length: bytes }, (_, n) => n * 7);
  ping.set([8, 0, 0, 0]);
  put16(ping, 2, foldChecksum(sum16(ping, 0, bytes)));
  return ping;
}

Deno.test("a packet in fragments is put together, in whatever order they come, and answered in fragments", () => {
  for (const order of [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 0, 1, 2]]) {
    const host = new FakeHost(), ping = largePing(4000), parts = pieces(ping, 1200);
    askArp(host, HOST_IP);
    for (const n of order) {
      assert.equal(host.frames.length, 0, "nothing before it is whole");
      host.sendIp(HOST_IP, PROTOCOL.ICMP, parts[n]!.piece, GUEST_IP, parts[n]!.place);
    }
    const reply = new Uint8Array(4000);
    for (const frame of host.take()) {
      const { data, offset } = readIp(frame)!;
      reply.set(data, offset);
    }
    assert.equal(foldChecksum(sum16(reply, 0, 4000)), 0);
    assert.deepEqual(reply.subarray(4), ping.subarray(4));
  }
});

Deno.test("fragments that overlap, go on behind the end or are never completed are forgotten, and cost little", () => {
  const send = (host: FakeHost, data: Uint8Array, place: number, id = 1) =>
    host.sendIp(HOST_IP, PROTOCOL.ICMP, data, GUEST_IP, place, id);
  const ping = largePing(2400),
    [first, last] = pieces(ping, 1200) as [ReturnType<typeof pieces>[0], ReturnType<typeof pieces>[0]];
  const bad: readonly (readonly [Uint8Array, number])[] = [
    [new Uint8Array(1200), 0x2000],
    [new Uint8Array(8), 0x2000 | 1],
    [new Uint8Array(9), 0x2000 | 200],
    [new Uint8Array(1000), 8191],
    [new Uint8Array(8), 0x2000 | 400],
  ];
  for (const [n, [data, place]] of bad.entries()) {
    const host = new FakeHost();
    // The last one goes on behind the end.
    if (n === bad.length - 1) send(host, last.piece, last.place);
    else send(host, first.piece, first.place);
    send(host, data, place);
    send(host, last.piece, last.place);
    assert.equal(host.frames.length, 0, `case ${n}`);
  }
  const host = new FakeHost();
  askArp(host, HOST_IP);
  for (let id = 0; id < 60_000; id++) send(host, first.piece, first.place, id);
  // The newest is still known, an older one is not.
  send(host, last.piece, last.place, 59_000);
  assert.equal(host.take().length, 0);
  send(host, last.piece, last.place, 59_999);
  assert.equal(host.take().length, 2);
  send(host, first.piece, first.place, 7);
  host.nowMs += 31_000;
  send(host, first.piece, first.place, 8);
  send(host, last.piece, last.place, 7);
  assert.equal(host.take().length, 0, "it took too long");
});

function dhcp(host: FakeHost, kind: number, options: readonly number[] = [], mac = MAC) {
  const message = new Uint8Array(300);
  message.set([1, 1, 6, 0, 1, 2, 3, 4]);
  message.set(mac, 28);
  put32(message, 236, 0x6382_5363);
  message.set([53, 1, kind, ...options, 255], 240);
  host.sendUdp(0xffff_ffff, 68, 67, message, 0);
  const frame = host.take()[0];
  if (frame === undefined) return null;
  const reply = readUdp(frame);
  assert.deepEqual([reply.fromPort, reply.toPort], [67, 68]);
  const found = new Map<number, number[]>();
  for (let at = 240; reply.data[at] !== 255; at += 2 + reply.data[at + 1]!) {
    found.set(reply.data[at]!, [...reply.data.subarray(at + 2, at + 2 + reply.data[at + 1]!)]);
  }
  return { kind: found.get(53)![0], yours: formatIp(get32(reply.data, 16)), options: found };
}

Deno.test("DHCP gives each guest its address, with everything that belongs to it", () => {
  const host = new FakeHost({ hostname: "guest", domainName: "example.org" }), offer = dhcp(host, 1)!;
  assert.deepEqual([offer.kind, offer.yours], [2, "10.0.2.15"]);
  const given = dhcp(host, 3, [50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2])!;
  assert.deepEqual([given.kind, given.yours], [5, "10.0.2.15"]);
  assert.deepEqual(given.options.get(1), [255, 255, 255, 0]);
  assert.deepEqual(given.options.get(3), [10, 0, 2, 2]);
  assert.deepEqual(given.options.get(6), [10, 0, 2, 3]);
  assert.deepEqual(given.options.get(12), [...new TextEncoder().encode("guest")]);
  const other = Uint8Array.of(2, 0, 0, 0, 0, 1);
  assert.equal(dhcp(host, 1, [], other)!.yours, "10.0.2.16");
  assert.equal(dhcp(host, 3, [50, 4, 10, 0, 2, 15], other)!.kind, 6, "another's address is refused");
  assert.equal(dhcp(host, 3, [54, 4, 1, 2, 3, 4], other), null, "another server's answer was chosen");
  assert.equal(dhcp(new FakeHost({ restrict: true }), 1)!.options.has(3), false);
});

Deno.test("UDP goes to the host, to the name server and beyond, and only those may answer", () => {
  const host = new FakeHost(), data = Uint8Array.of(1, 2, 3), far = parseIp("192.0.2.9")!;
  host.sendUdp(HOST_IP, 1000, 2000, data);
  host.sendUdp(DNS_IP, 1000, 53, data);
  host.sendUdp(far, 1000, 7, data);
  assert.deepEqual(host.datagrams.map(({ ip, port, loopback }) => [ip, port, loopback]), [
    [LOOPBACK_IP, 2000, true],
    [RESOLVER, 53, false],
    [far, 7, false],
  ]);
  assert.equal(host.udpReceive.length, 2, "a socket for the loopback, one for the rest");
  host.udpReceive[0]!(data, LOOPBACK_IP, 2000);
  host.udpReceive[1]!(data, RESOLVER, 53);
  host.udpReceive[1]!(data, RESOLVER, 54);
  host.udpReceive[1]!(data, far + 1, 7);
  host.udpReceive[1]!(new Uint8Array(4000).fill(5), far, 7);
  const frames = host.take(), [one, two] = frames.map((frame, n) => n < 2 ? readUdp(frame) : null);
  assert.deepEqual([one!.from, one!.fromPort, one!.toPort, [...one!.data]], [HOST_IP, 2000, 1000, [1, 2, 3]]);
  assert.deepEqual([two!.from, two!.fromPort], [DNS_IP, 53]);
  const pieces = frames.slice(2);
  assert.deepEqual(pieces.map((frame) => get16(frame, 20)), [0x2000, 0x2000 | 185, 370], "in fragments");
  assert.equal(pieces.reduce((bytes, frame) => bytes + frame.length - 34, 0), 4008);
  host.nowMs += 61_000;
  host.net.tick();
  assert.equal(host.udpClosed, 2, "what is not used is closed");
});

Deno.test("a forwarded UDP port leads to the guest, and its answers back", () => {
  const host = new FakeHost(), sent: [number[], number, number][] = [];
  const reply = (data: Uint8Array, ip: number, port: number) => void sent.push([[...data], ip, port]);
  const forward = {
    protocol: "udp",
    hostAddress: "127.0.0.1",
    hostPort: 1,
    guestAddress: null,
    guestPort: 69,
  } as const;
  askArp(host, HOST_IP);
  host.net.datagram(forward, Uint8Array.of(7), LOOPBACK_IP, 3333, reply);
  const { from, fromPort, toPort, data } = readUdp(host.take()[0]!);
  assert.deepEqual([from, fromPort, toPort, [...data]], [HOST_IP, 3333, 69, [7]]);
  host.sendUdp(HOST_IP, 69, 3333, Uint8Array.of(8));
  assert.deepEqual(sent, [[[8], LOOPBACK_IP, 3333]]);
  assert.equal(host.datagrams.length, 0);
});

Deno.test("restrict lets nothing out but what is forwarded", () => {
  const to = { kind: "tcp", host: "127.0.0.1", port: 5 } as const;
  const host = new FakeHost({ restrict: true, guestForwards: [{ address: "10.0.2.100", port: 9, to }] });
  host.sendUdp(HOST_IP, 1, 2, Uint8Array.of(1));
  host.sendUdp(DNS_IP, 1, 53, Uint8Array.of(1));
  assert.equal(host.datagrams.length, 0);
  for (
    const [ip, port] of [[HOST_IP, 80], [DNS_IP, 53], [parseIp("192.0.2.1")!, 80], [
      parseIp("10.0.2.100")!,
      10,
    ]] as const
  ) {
    const guest = new GuestTcp(host, 5000, ip, port);
    guest.syn();
    guest.receive();
    assert.equal(guest.resetGot, true);
  }
  new GuestTcp(host, 5000, parseIp("10.0.2.100")!, 9).syn();
  assert.deepEqual(host.connects.map(({ address }) => address), [to]);
});

Deno.test("the host's loopback, groups and this network are not to be reached by their addresses", () => {
  const host = new FakeHost();
  for (const ip of ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.1", "10.0.2.77", "10.0.2.255"]) {
    host.sendUdp(parseIp(ip)!, 1, 2, Uint8Array.of(1));
    new GuestTcp(host, 5000, parseIp(ip)!, 80).syn();
  }
  host.sendUdp(HOST_IP, 1, 2, Uint8Array.of(1), parseIp("10.0.3.1")!);
  assert.equal(host.datagrams.length + host.connects.length, 0);
});

Deno.test("frames of any kind do no harm", async () => {
  const host = new FakeHost(), real: Uint8Array[] = [];
  let seed = 1;
  // The lower bits repeat soon.
  const random = (n: number) => ((seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8) % n;
  const before = host.net.record.bind(host.net);
  host.net.record = (bytes: Uint8Array) => {
    real.push(bytes.slice());
    before(bytes);
  };
  askArp(host, HOST_IP);
  dhcp(host, 1);
  host.sendUdp(HOST_IP, 1000, 2000, new Uint8Array(40));
  new GuestTcp(host, 5000, HOST_IP, 80).syn();
  for (let n = 0; n < 20_000; n++) {
    const bytes = real[random(4)]!.slice(0, random(5) === 0 ? NET_HEADER_BYTES + random(120) : undefined);
    for (let changes = random(6); changes > 0; changes--) bytes[random(bytes.length)] = random(256);
    // Half of them with checksums that do not stop them: the header's is right, the rest is left to whoever takes it.
    if (random(2) === 0 && bytes.length >= NET_HEADER_BYTES + 54) {
      bytes.set([1, 0, 0, 0, 0, 0, 34, 0, 16, 0]);
      const frame = bytes.subarray(NET_HEADER_BYTES), header = Math.max(20, (frame[14]! & 15) * 4);
      put16(frame, 24, 0);
      if (14 + header <= frame.length) put16(frame, 24, foldChecksum(sum16(frame, 14, 14 + header)));
    }
    before(bytes);
    if (n % 100 === 0) {
      host.nowMs += random(2000);
      host.net.tick();
      for (const { accept, refuse } of host.connects.splice(0)) random(2) === 0 ? accept(new FakeStream()) : refuse();
      await host.settle();
    }
    host.frames.length = 0;
  }
  assert.ok(host.net.connectionCount <= 1024);
  assert.ok(host.net.counters.connections > 100, `${host.net.counters.connections} connections were made on the way`);
  // And it still works.
  host.frames.length = 0;
  assert.notEqual(askArp(host, HOST_IP), undefined);
});
