// Puts the option table into README.md, between its two marks.

import { optionsMarkdown } from "../../src/machine/options.ts";
import { ROOT } from "./sources.ts";

const MARKS = /(<!-- options -->\n)[\s\S]*?(<!-- \/options -->)/;

/** README's text with the current table. */
export function withOptions(text: string): string {
  if (!MARKS.test(text)) throw new Error("README.md has no marks for the table of options");
  return text.replace(MARKS, (_, before: string, after: string) => `${before}${optionsMarkdown()}\n${after}`);
}

if (import.meta.main) {
  const path = new URL("README.md", ROOT);
  await Deno.writeTextFile(path, withOptions(await Deno.readTextFile(path)));
}
