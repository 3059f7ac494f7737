// cpio as GNU cpio reads it, and files out of a tar that GNU tar wrote.

import assert from "node:assert/strict";
import { packCpio } from "../../src/machine/cpio.ts";
import { filesFromTar } from "../../src/machine/tar.ts";
import { toText } from "@std/streams";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("newc headers, alignment and trailer", () => {
  const packed = packCpio([
    { kind: "directory", path: "d" },
    { kind: "file", path: "d/f", data: bytes("hello"), mode: 0o755 },
    { kind: "link", path: "d/l", target: "f" },
    { kind: "device", path: "console", major: 5, minor: 1 },
  ]);
  assert.equal(packed.length % 4, 0);
  const text = new TextDecoder().decode(packed);
  const headers = [...text.matchAll(/070701((?:[0-9a-f]{8}){13})([^\0]+)\0/g)].map(([, fields, name]) => ({
    name,
    fields: fields!.match(/.{8}/g)!.map((field) => parseInt(field, 16)),
  }));
  assert.deepEqual(headers.map(({ name }) => name), ["d", "d/f", "d/l", "console", "TRAILER!!!"]);
  assert.deepEqual(headers.map(({ fields }) => fields[1]!.toString(8)), ["40755", "100755", "120777", "20600", "0"]);
  assert.deepEqual(headers.map(({ fields }) => fields[6]), [0, 5, 1, 0, 0]);
  assert.deepEqual(headers[3]!.fields.slice(9, 11), [5, 1]);
  assert.equal(text.slice(text.indexOf("hello")).slice(0, 8), "hello\0\0\0");
});

Deno.test("files out of a tar, with long names, in small pieces", async () => {
  const directory = await Deno.makeTempDir(), long = "x".repeat(120);
  await Deno.mkdir(`${directory}/boot`);
  await Deno.writeTextFile(`${directory}/boot/vmlinuz-1`, "kernel".repeat(1000));
  await Deno.writeTextFile(`${directory}/boot/${long}`, "long");
  await Deno.writeTextFile(`${directory}/other`, "no".repeat(9999));
  const tar = new Deno.Command("tar", { args: ["-C", directory, "-cf", "-", "."], stdout: "piped" }).spawn();
  const pieces = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      for (let at = 0; at < chunk.length; at += 700) controller.enqueue(chunk.subarray(at, at + 700));
    },
  });
  const files = await filesFromTar(tar.stdout.pipeThrough(pieces), (path) => path.startsWith("boot/"));
  await tar.status;
  const texts = [...files].map(([name, data]) => [name, new TextDecoder().decode(data)]).sort();
  assert.deepEqual(texts, [["boot/vmlinuz-1", "kernel".repeat(1000)], [`boot/${long}`, "long"]]);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("GNU cpio lists what was packed", async () => {
  const child = (() => {
    try {
      return new Deno.Command("cpio", { args: ["-t", "--quiet"], stdin: "piped", stdout: "piped" }).spawn();
    } catch {
      return null;
    }
  })();
  if (child === null) return;
  const writer = child.stdin.getWriter();
  await writer.write(packCpio([{ kind: "file", path: "a", data: bytes("12345"), mode: 0o644 }]));
  await writer.close();
  assert.equal(await toText(child.stdout), "a\n");
  await child.status;
});
