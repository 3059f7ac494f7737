// What a TypeScript function that was called from generated code tells it to do next.

/** Go on with the next instruction. */
export const CONTINUE = 0;
/** `state.pc` was changed (exception, exception return): look it up again. */
export const REFETCH = 1;
/** Leave generated code; `state.pc` is where to continue. */
export const LEAVE = 2;
export type Status = typeof CONTINUE | typeof REFETCH | typeof LEAVE;
