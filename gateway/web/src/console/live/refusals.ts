// What was refused since the page is open: by code and route, over all nodes.

import type { Refusals, Refused } from '../link/wire';

/** So many kinds are kept; of more, those that came last. */
export const KEPT = 500;

export interface Tally extends Refused {
  key: string;
  nodes: readonly string[];
  lastAt: number;
}

export type Tallies = ReadonlyMap<string, Tally>;

/** The tallies after a node has told what it refused. */
export function tallied(tallies: Tallies, told: Refusals, now: number): Tallies {
  if (told.refusals.length === 0) return tallies;
  const next = new Map(tallies);
  for (const refused of told.refusals) {
    const key = [refused.namespace, refused.event, refused.place, refused.action, refused.code].join('\n');
    const before = next.get(key);
    const nodes = before?.nodes ?? [];
    // Taken out and put in again, it stands behind those that came before it.
    next.delete(key);
    next.set(key, {
      ...refused,
      key,
      count: (before?.count ?? 0) + refused.count,
      nodes: nodes.includes(told.node) ? nodes : [...nodes, told.node].sort(),
      lastAt: now,
    });
  }
  for (const key of next.keys()) {
    if (next.size <= KEPT) break;
    next.delete(key);
  }
  return next;
}

/** Most first. */
export function ranked(tallies: Tallies): Tally[] {
  return [...tallies.values()].sort((one, other) => other.count - one.count || (one.key < other.key ? -1 : 1));
}

/** How often each code came, most first. */
export function byCode(tallies: Tallies): [string, number][] {
  const counts = new Map<string, number>();
  for (const { code, count } of tallies.values()) counts.set(code, (counts.get(code) ?? 0) + count);
  return [...counts].sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
}
