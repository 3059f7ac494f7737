// The command: `deno task run …`. Everything it does is in src/machine.

console.log(JSON.stringify(Deno.args));
