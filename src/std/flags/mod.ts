// Our own subset of @std/flags, written from its public documentation, for networks where JSR cannot be reached.

/** Options for {@linkcode parse}. */
export interface ParseOptions {
  /** Names that take no value. */
  boolean?: readonly string[];
  /** Names whose value stays text. */
  string?: readonly string[];
  /** Values of names that were not given. */
  default?: Record<string, unknown>;
}

/** Named arguments, and the others under `_`. */
// deno-lint-ignore no-explicit-any
export type Args = { _: (string | number)[]; [name: string]: any };

/** Reads `--name value`, `--name=value`, `--flag`, `--no-flag`; everything after `--` is positional. */
export function parse(args: readonly string[], options: ParseOptions = {}): Args {
  const flags = new Set(options.boolean ?? []), texts = new Set(options.string ?? []);
  const out: Args = { _: [] };
  for (const name of flags) out[name] = false;
  Object.assign(out, options.default);
  const value = (name: string, text: string) =>
    texts.has(name) || text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
  for (let index = 0; index < args.length; index++) {
    const word = args[index]!;
    if (word === "--") {
      out._.push(...args.slice(index + 1));
      break;
    }
    const match = /^--([^=-][^=]*)(?:=(.*))?$/s.exec(word);
    if (!match) {
      out._.push(value("_", word));
      continue;
    }
    const name = match[1]!, next = args[index + 1];
    if (match[2] !== undefined) out[name] = flags.has(name) ? match[2] !== "false" : value(name, match[2]);
    else if (flags.has(name)) out[name] = true;
    else if (name.startsWith("no-") && flags.has(name.slice(3))) out[name.slice(3)] = false;
    else if (next !== undefined && !/^-./.test(next)) {
      out[name] = value(name, next);
      index++;
    } else out[name] = texts.has(name) ? "" : true;
  }
  return out;
}
