// What the host refused, as error classes. A guest's mistakes are values (faults, status bits) and never come here; our
// own mistakes are assertions (`assert`). Every message states the action, then the state: "Cannot open x: no such file".

/** Exit code for bad input: an unknown option, a missing image, a busy port. */
export const EXIT_BAD_INPUT = 2;

/** The user's input or the host stands in the way. Its message is one line, shown after `vitrine: `. */
export class HostError extends Error {
  override readonly name: string = "HostError";
}

/** The command line says something that is not understood or not implemented. */
export class UsageError extends HostError {
  override readonly name = "UsageError";
}

/** An assertion of our own failed: a bug in this program. */
export class AssertionFailure extends Error {
  override readonly name = "AssertionFailure";
}

/** States what must hold for the program to be right. Never for what a guest, a file or a socket brings. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** The state half of a host error's message: why an operation failed, in words, without Deno's own decoration. */
export function reason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file or directory";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  if (error instanceof Deno.errors.IsADirectory) return "is a directory";
  // The second spelling is that of node:dgram.
  if (error instanceof Deno.errors.AddrInUse || (error as { code?: unknown } | null)?.code === "EADDRINUSE") {
    return "address already in use";
  }
  if (error instanceof Deno.errors.AddrNotAvailable) return "address not available";
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused";
  if (error instanceof Deno.errors.AlreadyExists) return "already exists";
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/ \(os error \d+\).*$/s, "").replace(/\s*\n\s*/g, " ");
}

/** The one line that goes to stderr for an error that reaches `main.ts`. */
export function errorLine(error: unknown): string {
  if (error instanceof HostError) return `vitrine: ${error.message.replace(/\s*\n\s*/g, " ")}`;
  return `vitrine: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}
