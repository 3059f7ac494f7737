// The project's own sources, for the tests of its shape.

export interface Source {
  /** From the project's root: `src/base/ring.ts`. */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
}

export const ROOT = new URL("../../", import.meta.url);

/** Every TypeScript file under the given folders (and files). */
export async function sources(...under: string[]): Promise<Source[]> {
  const found: Source[] = [];
  const visit = async (path: string): Promise<void> => {
    const url = new URL(path, ROOT);
    const info = await Deno.stat(url).catch(() => null);
    if (info?.isDirectory) {
      for await (const entry of Deno.readDir(url)) await visit(`${path}/${entry.name}`);
    } else if (info?.isFile && path.endsWith(".ts")) {
      const text = await Deno.readTextFile(url);
      found.push({ path, text, lines: text.split("\n") });
    }
  };
  for (const path of under) await visit(path);
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

export interface Import {
  /** The imported file, from the project's root; null for a package. */
  readonly path: string | null;
  /** Nothing of it is left when the program runs. */
  readonly typeOnly: boolean;
}

const STATEMENT = /^\s*(?:import|export)\s+(type\s+)?([^;"']*?)\s*(?:from\s+)?"([^"]+)"/gm;
const DYNAMIC = /\bimport\("([^"]+)"\)|new URL\(\s*"(\.[^"]+\.ts)"/g;

/** What a file imports: statements, `import()` and Workers' URLs. */
export function imports(source: Source): Import[] {
  const found: Import[] = [];
  const add = (specifier: string, typeOnly: boolean) => {
    const path = specifier.startsWith(".") ? new URL(specifier, `file:///${source.path}`).pathname.slice(1) : null;
    found.push({ path, typeOnly });
  };
  for (const [, type, names, specifier] of source.text.matchAll(STATEMENT)) {
    const braces = /^\{(.*)\}$/s.exec(names!.trim())?.[1];
    const allTypes = braces !== undefined && braces.trim() !== "" &&
      braces.split(",").every((name) => name.trim() === "" || name.trim().startsWith("type "));
    add(specifier!, type !== undefined || allTypes);
  }
  for (const [, dynamic, url] of source.text.matchAll(DYNAMIC)) add((dynamic ?? url)!, false);
  return found;
}
