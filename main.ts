// The command: `deno task run …`. Everything it does is in src/machine.

import { errorLine, EXIT_BAD_INPUT, HostError } from "./src/base/errors.ts";
import { parseCommandLine } from "./src/machine/options.ts";

try {
  const command = parseCommandLine(Deno.args);
  if (command.kind === "show") console.log(command.text);
  else console.log(JSON.stringify(command, null, 1));
} catch (error) {
  console.error(errorLine(error));
  Deno.exit(error instanceof HostError ? EXIT_BAD_INPUT : 1);
}
