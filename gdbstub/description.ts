// A context's registers as gdb's target description ("Target Description Format"): one feature for each group of
// registers, with types for their fields, so that gdb prints `[ VM FMO IMO ]` and `EC=DABT_LOWER` by itself.

import type { RegisterDescription, RegisterField, RegisterType } from "./target.ts";

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
/** Text for an attribute or an element; control characters, which XML cannot hold, become spaces. */
export const xml = (text: string): string =>
  // deno-lint-ignore no-control-regex
  text.replace(/[\u0000-\u001f]/g, " ").replace(/[&<>"]/g, (c) => ENTITIES[c]!);

/** The shapes of a SIMD register, as gdb's own description has them. */
const VECTOR_TYPES = `<vector id="v2d" type="ieee_double" count="2"/>
<vector id="v2u" type="uint64" count="2"/>
<vector id="v2i" type="int64" count="2"/>
<vector id="v4f" type="ieee_single" count="4"/>
<vector id="v4u" type="uint32" count="4"/>
<vector id="v4i" type="int32" count="4"/>
<vector id="v8f" type="ieee_half" count="8"/>
<vector id="v8u" type="uint16" count="8"/>
<vector id="v8i" type="int16" count="8"/>
<vector id="v16u" type="uint8" count="16"/>
<vector id="v16i" type="int8" count="16"/>
<vector id="v1u" type="uint128" count="1"/>
<vector id="v1i" type="int128" count="1"/>
<union id="vnd"><field name="f" type="v2d"/><field name="u" type="v2u"/><field name="s" type="v2i"/></union>
<union id="vns"><field name="f" type="v4f"/><field name="u" type="v4u"/><field name="s" type="v4i"/></union>
<union id="vnh"><field name="f" type="v8f"/><field name="u" type="v8u"/><field name="s" type="v8i"/></union>
<union id="vnb"><field name="u" type="v16u"/><field name="s" type="v16i"/></union>
<union id="vnq"><field name="u" type="v1u"/><field name="s" type="v1i"/></union>
<union id="aarch64v"><field name="d" type="vnd"/><field name="s" type="vns"/><field name="h" type="vnh"/>` +
  `<field name="b" type="vnb"/><field name="q" type="vnq"/></union>`;

function fieldsType(name: string, bits: number, fields: readonly RegisterField[]): string {
  const size = bits / 8, lines: string[] = [];
  const types = fields.map((field) => {
    if (field.values === undefined) return field.width === 1 ? "bool" : `uint${size * 8}`;
    const id = `${name}_${field.name}_values`;
    const values = Object.entries(field.values).map(([text, value]) =>
      `<evalue name="${xml(text)}" value="${value}"/>`
    );
    lines.push(`<enum id="${xml(id)}" size="${size}">${values.join("")}</enum>`);
    return id;
  });
  const described = fields.map(({ name, lsb, width }, i) =>
    `<field name="${xml(name)}" start="${lsb}" end="${lsb + width - 1}" type="${xml(types[i]!)}"/>`
  );
  lines.push(`<flags id="${xml(name)}_fields" size="${size}">${described.join("")}</flags>`);
  return lines.join("\n");
}

function typeName(name: string, type: RegisterType, bits: number): string {
  switch (type.kind) {
    case "int":
      return bits === 64 ? "uint64" : bits === 32 ? "uint32" : "uint128";
    case "vector":
      return "aarch64v";
    case "fields":
      return `${name}_fields`;
    default:
      return type.kind;
  }
}

function feature(name: string, registers: readonly RegisterDescription[]): string {
  const lines = [`<feature name="${xml(name)}">`];
  if (registers.some(({ type }) => type.kind === "vector")) lines.push(VECTOR_TYPES);
  for (const { name, bits, type } of registers) {
    if (type.kind === "fields") lines.push(fieldsType(name, bits, type.fields));
  }
  for (const { number, name, bits, type, group, general } of registers) {
    // Without a group, gdb puts general registers where they belong; others are not touched by calls of guest functions.
    const where = group === null ? "" : ` group="${xml(group)}"`, kept = general ? "" : ` save-restore="no"`;
    const attributes = `name="${xml(name)}" bitsize="${bits}" type="${xml(typeName(name, type, bits))}"`;
    lines.push(`<reg ${attributes} regnum="${number}"${where}${kept}/>`);
  }
  return [...lines, "</feature>"].join("\n");
}

/** The description, XML. */
export function targetDescription(registers: readonly RegisterDescription[]): string {
  const features = new Map<string, RegisterDescription[]>();
  for (const register of registers) {
    const others = features.get(register.feature);
    if (others === undefined) features.set(register.feature, [register]);
    else others.push(register);
  }
  return [
    `<?xml version="1.0"?>`,
    `<!DOCTYPE target SYSTEM "gdb-target.dtd">`,
    `<target version="1.0">`,
    `<architecture>aarch64</architecture>`,
    ...[...features].map(([name, members]) => feature(name, members)),
    `</target>`,
    "",
  ].join("\n");
}
