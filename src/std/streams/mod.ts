export function concat() {}
