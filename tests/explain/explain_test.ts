// What `deno task explain` says. Instructions are compared with files in expected/, so that a change of a definition's
// IR or Wasm is seen as a diff; after an intended one: deno test -A tests/explain -- --update

import assert from "node:assert/strict";
import { explain, explainInstruction } from "../../src/machine/explain.ts";
import { A64 } from "../../src/isa/a64/a64.ts";
import { fields31, instantiate, matches } from "../../src/isa/define.ts";
import { printIr } from "../../src/isa/print.ts";
import { handlerListing } from "../../src/jit/listing.ts";
import { irOf, shapeOf } from "../../src/jit/shape.ts";

const update = Deno.args.includes("--update");

/** Words as an assembler makes them from the text. */
const INSTRUCTIONS: Readonly<Record<string, readonly [word: number, text: string]>> = {
  add_immediate: [0x9100_1020, "add x0, x1, #4"],
  subs_extended: [0xeb21_4c5f, "cmp x2, w1, uxtw #3"],
  load_from_sp: [0xf940_0be0, "ldr x0, [sp, #16]"],
  load_pair: [0xa8c1_7bfd, "ldp x29, x30, [sp], #16"],
  store_exclusive: [0xc802_7c20, "stxr w2, x0, [x1]"],
  atomic_add: [0xb8a0_0041, "ldadda w0, w1, [x2]"],
  branch_condition: [0x5400_0041, "b.ne .+8"],
  call_register: [0xd63f_0060, "blr x3"],
  hypervisor_call: [0xd400_0022, "hvc #1"],
  read_system_register: [0xd538_1000, "mrs x0, sctlr_el1"],
  move_to_double: [0x9e67_0020, "fmov d0, x1"],
  multiply_vector: [0x4ea2_9c20, "mul v0.4s, v1.4s, v2.4s"],
};

/** Definition, IR and the handler as a function of its own, without what the layout of the state or measurements decide. */
function review(word: number): string {
  const definition = A64.find((d) => matches(d, word))!, shape = shapeOf(definition, word, true);
  const text = explainInstruction(word, "max"), record = text.findIndex((line) => line === "Record");
  const listing = handlerListing(shape, false).map((line) => `  ${line.replace(/ offset=\d+/g, "")}`);
  return [...text.slice(0, record), `Handler of shape ${shape.key}`, ...listing].join("\n") + "\n";
}

for (const [name, [word, text]] of Object.entries(INSTRUCTIONS)) {
  Deno.test(`explain ${text}`, async () => {
    const file = new URL(`expected/${name}.txt`, import.meta.url), actual = `${text}\n${review(word)}`;
    if (update) await Deno.writeTextFile(file, actual);
    assert.equal(actual, await Deno.readTextFile(file));
  });
}

/** A word of a definition, its other bits from a fixed pattern. */
function someWord(d: (typeof A64)[number]): number | undefined {
  for (let seed = 1, n = 0; n < 4000; n++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const word = ((seed & ~d.mask) | d.value) >>> 0;
    if (matches(d, word)) return word;
  }
  return undefined;
}

Deno.test("every definition has words for its IR and its handlers", () => {
  let seen = 0;
  for (const d of A64) {
    const word = someWord(d);
    if (word === undefined) continue;
    seen++;
    const shape = shapeOf(d, word, true);
    const listings = [handlerListing(shape, false), handlerListing(shape, true), printIr(d, irOf(shape))];
    listings.push(printIr(d, instantiate(d, word, "translate", fields31(d, word))));
    for (const lines of listings) {
      assert(
        lines.every((line) => !/undefined|NaN|\[object/.test(line.replace("$undefined", ""))),
        `${d.name}: ${lines}`,
      );
    }
  }
  assert(seen > A64.length * 0.95, `${seen} of ${A64.length}`);
});

const said = async (...args: string[]) => (await explain(args)).join("\n");

Deno.test("words, bytes and addresses in files name the same instruction", async () => {
  const byWord = await said("0xd503201f");
  assert.match(byWord, /^0xd503201f {2}nop\nDefinition: HINT/);
  assert.equal(await said("d503201f"), byWord);
  assert.equal(await said("1f", "20", "03", "d5"), byWord);
  assert.equal(await said("1f 20 03 d5"), byWord);
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, Uint8Array.of(0, 0, 0, 0, 0x1f, 0x20, 0x03, 0xd5));
    assert.equal(await said(`${path}@0x4`), `at 0x4\n${byWord}`);
    await assert.rejects(said(`${path}@0x8`), /nothing there$/);
    await assert.rejects(said(`${path}@0x2`), /multiple of 4$/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("an address in an ELF file is looked up in its segments, and branches show their targets", async () => {
  const demo = new URL("../guests/two_guests/two_guests.elf", import.meta.url).pathname;
  assert.match(await said(`${demo}@0x40200000`), /^at 0x40200000\n0x[0-9a-f]{8} {2}/);
  await assert.rejects(said(`${demo}@0x10`), /nothing there$/);
  // b .+0x40 there
  assert.equal(explainInstruction(0x1400_0010, "max", 0x4020_0000n)[1], "0x14000010  b 0x40200040");
});

Deno.test("what a CPU does not have takes an exception", async () => {
  assert.match(await said("-cpu", "cortex-a57", "0xb8a00041"), /needs FEAT_LSE: it takes an exception of class 0x0/);
  assert.match(await said("0"), /No instruction has this encoding/);
});

Deno.test("a system register by name or encoding, with its fields' values", async () => {
  const lines = await explain(["hcr_el2", "0x400000001"]);
  assert.equal(lines[0], "HCR_EL2, S3_4_C1_C1_0");
  assert(lines.includes("      0  VM       0x1") && lines.includes("     34  E2H      0x1"), lines.join("\n"));
  assert.deepEqual(await explain(["S3_4_C1_C1_0"]), await explain(["HCR_EL2"]));
  assert.match(await said("SCTLR_EL12"), /another way to SCTLR_EL1/);
  assert.match(await said("s3_0_c15_c15_7"), /no register of this machine/);
});

Deno.test("a syndrome in words and fields", async () => {
  const first = async (esr: string) => (await explain(["esr", esr]))[0]!.replace(/^Syndrome 0x[0-9a-f]+: /, "");
  assert.equal(
    await first("0x93c08006"),
    "data abort from a lower level: translation fault, level 2; read of 8 bytes into x0",
  );
  assert.equal(
    await first("0x9280004f"),
    "data abort from a lower level: permission fault, level 3; write",
  );
  assert.equal(await first("0x5a000001"), "HVC #0x1");
  assert.equal(await first("0x62300005"), "trapped read of ID_ISAR0_EL1 into x0");
  assert.equal(await first("0x07e00001"), "trapped WFE");
  assert.equal(await first("0x02000000"), "unknown reason (undefined instruction)");
});

Deno.test("what is not understood is one line", async () => {
  for (const args of [["nothing"], ["0x100000000"], ["esr"], ["-cpu", "z80", "0"], ["esr", "ten"], ["0", "1"]]) {
    await assert.rejects(explain(args), { name: "UsageError" }, args.join(" "));
  }
});
