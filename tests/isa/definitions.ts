// All instruction definitions, found by looking into src/isa/a64.

import type { Definition } from "../../src/isa/define.ts";

export async function allDefinitions(): Promise<Definition[]> {
  const folder = new URL("../../src/isa/a64/", import.meta.url), found = new Set<Definition>();
  for (const { name } of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (!name.endsWith(".ts")) continue;
    for (const value of Object.values(await import(new URL(name, folder).href))) {
      if (Array.isArray(value)) { for (const d of value) if (d && typeof d === "object" && "insn" in d) found.add(d); }
    }
  }
  return [...found];
}
