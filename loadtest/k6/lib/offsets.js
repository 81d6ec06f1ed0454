// Offsets: positions of events, as decimal strings, because JavaScript's numbers end at 2^53.

/** Whether offset `a` is later than `b`. The empty text is before all. */
export function follows(a, b) {
  return a.length !== b.length ? a.length > b.length : a > b;
}

export function isOffset(value) {
  return typeof value === 'string' && /^(0|[1-9][0-9]*)$/.test(value);
}

/** For sorting. */
export function byOffset(a, b) {
  return a.length - b.length || (a < b ? -1 : Number(a > b));
}

export function rising(offsets) {
  return offsets.every((offset, n) => isOffset(offset) && (n === 0 || follows(offset, offsets[n - 1])));
}
