// When to try again: soon at first, later and later, and never before the gateway said.

const FIRST_MS = 500;
const LONGEST_MS = 5_000;

/** How long to wait after so many failures in a row. `random` spreads clients that lost their node together. */
export function waitBefore(failures: number, retryAfterMs: number | null, random = Math.random): number {
  const steady = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.max(0, failures - 1));
  const spread = steady * (0.5 + random() / 2);
  return Math.round(Math.max(spread, retryAfterMs ?? 0));
}
