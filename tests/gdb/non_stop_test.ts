import assert from "node:assert/strict";
import { Client, stop } from "./client.ts";
import { threeContexts } from "./fake_target.ts";

/** A client in non-stop mode, with every thread stopped. */
async function nonStop() {
  const target = threeContexts(), client = await Client.attached(target);
  assert.equal(await client.ask("QNonStop:1"), "OK");
  const stops = [stop(await client.ask("?"))];
  assert.equal(await client.ask("vStopped"), "OK");
  // The others come by themselves, one notification for all.
  stops.push(stop((await client.next()).replace(/^Stop:/, "")));
  for (let reply = ""; reply !== "OK";) {
    reply = await client.ask("vStopped");
    if (reply !== "OK") stops.push(stop(reply));
  }
  return { target, client, stops };
}

const notified = async (client: Client) => {
  const text = await client.next();
  assert.match(text, /^Stop:/);
  return stop(text.slice(5));
};

Deno.test("non-stop: every thread's stop is told once", async () => {
  const { client, stops } = await nonStop();
  assert.deepEqual(stops, ["T05thread:p1.1;", "T00thread:p1.2;", "T00thread:p2.1;", "T00thread:p3.1;"]);
  await client.leave();
});

Deno.test("non-stop: one thread runs and stops, the others stand still", async () => {
  const { target, client } = await nonStop();
  await client.ask("Hgp3.1");
  assert.equal(await client.ask("Z0,ffffff8040000010,4"), "OK");
  assert.equal(await client.ask("vCont;c:p3.1"), "OK");
  assert.equal(await notified(client), "T05swbreak:;thread:p3.1;");
  assert.equal(await client.ask("vStopped"), "OK");
  assert.equal(target.list[1]!.pc(0), target.list[1]!.start);
  // Again: nothing that already stands still is told twice.
  assert.equal(await client.ask("vCont;t:p3.1"), "OK");
  assert.equal(await client.ask("vCont;s:p3.1"), "OK");
  assert.equal(await notified(client), "T05thread:p3.1;");
  assert.equal(await client.ask("vStopped"), "OK");
  await client.leave();
});

Deno.test("non-stop: running threads are stopped by t and by vCtrlC", async () => {
  const { client } = await nonStop();
  assert.equal(await client.ask("vCont;c"), "OK");
  assert.equal(await client.ask("vCont;t:p2.-1"), "OK");
  assert.equal(await notified(client), "T00thread:p2.1;");
  assert.equal(await client.ask("vStopped"), "OK");
  assert.equal(await client.ask("vCtrlC"), "OK");
  const stops = [await notified(client)];
  for (let reply = await client.ask("vStopped"); reply !== "OK"; reply = await client.ask("vStopped")) {
    stops.push(stop(reply));
  }
  assert.deepEqual(stops.sort(), ["T02thread:p1.1;", "T02thread:p1.2;", "T02thread:p3.1;"]);
  await client.leave();
});

Deno.test("non-stop: a virtual machine that goes is a notification", async () => {
  const { target, client } = await nonStop();
  await client.ask("qfThreadInfo");
  target.vanish(2);
  assert.equal(await notified(client), "W00;process:2");
  assert.equal(await client.ask("vStopped"), "OK");
  assert.equal(await client.ask("QNonStop:0"), "OK");
  assert.equal(target.nonStop, false);
  await client.leave();
});
