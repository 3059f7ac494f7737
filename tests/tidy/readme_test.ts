// README's table of options is the one that the option table makes. After a change: deno run -A tests/tidy/readme.ts

import assert from "node:assert/strict";
import { withOptions } from "./readme.ts";
import { ROOT } from "./sources.ts";

Deno.test("README's table of options is current", async () => {
  const text = await Deno.readTextFile(new URL("README.md", ROOT));
  assert.equal(withOptions(text), text);
});
