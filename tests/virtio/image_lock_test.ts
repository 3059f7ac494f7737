// Who may open an image while somebody else has it: other runs of this program, and QEMU's programs, in both directions.

import assert from "node:assert/strict";
import { openImage } from "../../devices/host/image_open.ts";
import { hasTools, inDirectory, runTool } from "./tools.ts";

const ignore = !await hasTools("qemu-img", "qemu-io");
const main = new URL("../../main.ts", import.meta.url).pathname;

const open = (path: string, readOnly = false) =>
  openImage({ path, format: null, readOnly, snapshot: false, unsafe: true });

/** Holds the image open in qemu-io while `use` runs. */
async function whileQemuHas(path: string, format: string, more: string[], use: () => void | Promise<void>) {
  const args = ["-f", format, ...more, path];
  const child = new Deno.Command("qemu-io", { args, stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
  const reader = child.stdout.getReader();
  try {
    // Its prompt comes when the image is open.
    assert.match(new TextDecoder().decode((await reader.read()).value), /qemu-io>/);
    await use();
  } finally {
    await child.stdin.close();
    await reader.cancel();
    await child.status;
  }
}

for (const format of ["raw", "qcow2"]) {
  Deno.test({
    name: `QEMU's programs and this one keep each other from writing: ${format}`,
    ignore,
    fn: () =>
      inDirectory(async (directory) => {
        const path = `${directory}/image`;
        await runTool("qemu-img", ["create", "-q", "-f", format, path, "4M"]);
        const info = ["info", "-f", format, path], write = ["-f", format, "-c", "write 0 64k", path];
        const writer = open(path);
        await assert.rejects(runTool("qemu-io", write), /Failed to get "write" lock/);
        // To look at a raw image QEMU asks for nothing.
        if (format === "qcow2") await assert.rejects(runTool("qemu-img", info), /Failed to get shared "write" lock/);
        await runTool("qemu-img", ["info", "-U", "-f", format, path]);
        writer.close();
        await runTool("qemu-io", write);

        const reader = open(path, true);
        await runTool("qemu-img", info);
        await assert.rejects(runTool("qemu-io", write), /Failed to get "write" lock/);
        reader.close();

        await whileQemuHas(path, format, [], () => {
          assert.throws(() => open(path), /cannot open .*: somebody else has it open/);
          assert.throws(() => open(path, true), /cannot open .*: somebody writes to it/);
        });
        await whileQemuHas(path, format, ["-r"], () => {
          open(path, true).close();
          // Of a raw image, qemu-io does not mind if somebody else changes it.
          if (format === "raw") open(path).close();
          else assert.throws(() => open(path), /cannot open .*: somebody else has it open/);
        });
        open(path).close();
      }),
  });
}

Deno.test("a second run on an image that is written to ends with one line and exit code 2", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/image`;
    await Deno.writeFile(path, new Uint8Array(4096));
    const run = async (...drives: string[]) => {
      const args = [
        "run",
        "-A",
        main,
        "-nographic",
        "-kernel",
        "/dev/null",
        ...drives.flatMap((drive) => ["-drive", drive]),
      ];
      const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, stdin: "null" }).output();
      return { code, said: new TextDecoder().decode(stderr) };
    };
    const holder = open(path);
    const { code, said } = await run(`file=${path},format=raw`);
    assert.equal(code, 2);
    assert.match(said, /^[^\n]*cannot open [^\n]*image: somebody else has it open\n$/);
    holder.close();
    const twice = await run(`file=${path},format=raw`, `file=${path},format=raw`);
    assert.equal(twice.code, 2);
    assert.match(twice.said, /^[^\n]*cannot open [^\n]*image: somebody else has it open\n$/);
  }));
