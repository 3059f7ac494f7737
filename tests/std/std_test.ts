// What we use of the standard library behaves the same through our own subset (src/std) and through the real packages.

import { parse } from "@std/flags";
import { getAvailablePort } from "@std/net";
import { TextLineStream, toText } from "@std/streams";
import { assertSpyCalls, spy } from "@std/testing/mock";
import assert from "node:assert/strict";

Deno.test("flags: values, flags, defaults, positional arguments", () => {
  const options = { boolean: ["ok"], string: ["only"], default: { repeat: 1 } };
  assert.deepEqual(parse(["--ok", "--only=7", "--cpu", "max", "a", "--", "--b"], options), {
    _: ["a", "--b"],
    ok: true,
    only: "7",
    cpu: "max",
    repeat: 1,
  });
  assert.deepEqual(parse(["--repeat=3", "--no-ok"], options), { _: [], ok: false, repeat: 3 });
});

Deno.test("net: a port that can be listened on", () => {
  const port = getAvailablePort();
  Deno.listen({ port }).close();
  using taken = Deno.listen({ port: 0 });
  assert.notEqual(getAvailablePort({ preferredPort: taken.addr.port }), taken.addr.port);
});

Deno.test("streams: lines across chunks, and all of a text", async () => {
  const lines = ReadableStream.from(["a\nb", "c\r", "\n\nd"]).pipeThrough(new TextLineStream());
  assert.deepEqual(await Array.fromAsync(lines), ["a", "bc", "", "d"]);
  const bytes = new TextEncoder().encode("naïve");
  assert.equal(await toText(ReadableStream.from([bytes.slice(0, 3), bytes.slice(3)])), "naïve");
});

Deno.test("testing: a spy remembers its calls", () => {
  const twice = spy((n: number) => n * 2);
  assert.equal(twice(4), 8);
  assertSpyCalls(twice, 1);
  assert.deepEqual(twice.calls[0]!.args, [4]);
});
