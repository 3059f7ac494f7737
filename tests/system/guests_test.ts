// Our guest programs on this machine and on QEMU, with the same output (tests/guests/guests.json).

import assert from "node:assert/strict";
import { type Machine, QEMU, Run, VITRINE } from "../../bench/machines.ts";

interface Guest {
  readonly name: string;
  readonly file: string;
  readonly cpus: readonly string[];
  /** "output": all of it. "two_guests": each guest's own lines, and the rows that do not depend on timing. */
  readonly compare: "output" | "two_guests";
}

const GUESTS = new URL("../guests/", import.meta.url);
const { machine, programs }: { machine: string[]; programs: Guest[] } = JSON.parse(
  await Deno.readTextFile(new URL("guests.json", GUESTS)),
);
const LIMIT_MS = 60_000;
const qemu = await new Deno.Command(QEMU.command, { args: ["--version"] }).output().then((o) => o.success, () => false);

async function output(on: Machine, guest: Guest, cpu: string): Promise<string> {
  const run = new Run(on, [...machine, "-cpu", cpu, "-kernel", new URL(guest.file, GUESTS).pathname]);
  const code = await run.end(LIMIT_MS);
  assert.equal(code, 0, `${on.name} ended with ${code} after:\n${run.output.slice(-1000)}`);
  return run.output.replaceAll("\r", "");
}

/** What is the same in every run of a guest, by part. */
const PARTS: Readonly<Record<Guest["compare"], (text: string) => Record<string, string[]>>> = {
  output: (text) => ({ output: text.split("\n") }),
  two_guests: (text) => {
    const lines = text.split("\n"), table = lines.findIndex((line) => line.includes("exits by reason"));
    return {
      "vm 0": lines.filter((line) => line.startsWith("[vm 0]")),
      "vm 1": lines.filter((line) => line.startsWith("[vm 1]")),
      table: lines.slice(table).filter((line) => !line.includes("*")),
    };
  },
};

for (const guest of programs) {
  for (const cpu of guest.cpus) {
    Deno.test({
      name: `${guest.name} on ${cpu} says what it says on QEMU`,
      ignore: !qemu,
      fn: async () => {
        const [ours, theirs] = await Promise.all([output(VITRINE, guest, cpu), output(QEMU, guest, cpu)]);
        const expected = PARTS[guest.compare](theirs), actual = PARTS[guest.compare](ours);
        for (const [part, lines] of Object.entries(expected)) {
          assert(lines.length > 1, `QEMU says nothing in ${part}`);
          assert.deepEqual(actual[part], lines, part);
        }
      },
    });
  }
}
