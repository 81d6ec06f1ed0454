// Offsets of the log: decimal texts, longer than numbers of JavaScript are exact.

export type Offset = string;

/** Below 0 if `one` was published before `other`, 0 if they are the same. */
export function compareOffsets(one: Offset, other: Offset): number {
  if (one.length !== other.length) return one.length - other.length;
  return one < other ? -1 : one > other ? 1 : 0;
}
