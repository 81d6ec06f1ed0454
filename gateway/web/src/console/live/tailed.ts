// What a tail has told: the newest events, and how many there were that it did not tell.

import type { TailEvent } from '../link/wire';

/** So many are kept. */
export const KEPT = 1_000;

export interface Heard extends TailEvent {
  /** Which of all that were told, from 1: signals have no offset to be known by. */
  number: number;
}

export interface Tailed {
  /** Newest first. */
  events: readonly Heard[];
  told: number;
  leftOut: number;
  /** Why it ended; nothing while it goes on. */
  ended: string | undefined;
}

export const NOTHING: Tailed = { events: [], told: 0, leftOut: 0, ended: undefined };

/** With what was told since, oldest first. */
export function told(tailed: Tailed, events: readonly TailEvent[]): Tailed {
  if (events.length === 0) return tailed;
  const numbered = events.map((event, at) => ({ ...event, number: tailed.told + at + 1 })).reverse();
  return { ...tailed, events: [...numbered, ...tailed.events].slice(0, KEPT), told: tailed.told + events.length };
}
