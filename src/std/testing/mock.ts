// Our own subset of @std/testing/mock, written from its public documentation, for networks where JSR cannot be reached.

/** One call of a spy. */
export interface SpyCall<Args extends unknown[] = unknown[], Return = unknown> {
  args: Args;
  returned?: Return;
  error?: Error;
}

/** A function that remembers its calls. */
export interface Spy<Args extends unknown[] = unknown[], Return = unknown> {
  (...args: Args): Return;
  calls: SpyCall<Args, Return>[];
}

/** Wraps a function, or one that does nothing. */
export function spy<Args extends unknown[] = [], Return = undefined>(
  func?: (...args: Args) => Return,
): Spy<Args, Return> {
  const wrapped = ((...args: Args): Return => {
    const call: SpyCall<Args, Return> = { args };
    wrapped.calls.push(call);
    try {
      call.returned = func?.(...args) as Return;
      return call.returned;
    } catch (error) {
      call.error = error as Error;
      throw error;
    }
  }) as Spy<Args, Return>;
  wrapped.calls = [];
  return wrapped;
}

/** Asserts how often a spy was called. */
export function assertSpyCalls<Args extends unknown[], Return>(spy: Spy<Args, Return>, expectedCalls: number): void {
  if (spy.calls.length !== expectedCalls) {
    throw new Error(`Spy called ${spy.calls.length} times, expected ${expectedCalls}`);
  }
}
