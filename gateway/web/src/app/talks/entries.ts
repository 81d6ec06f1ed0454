// What a talk shows, in the order of the log: messages, and gaps where some may be missing.

import { compareOffsets, type Offset } from '../../shared/offsets';
import type { Said } from './said';

export interface Message {
  kind: 'message';
  offset: Offset;
  user: string | null;
  at: number;
  /** The event's name, if it is not the usual one. */
  event: string | null;
  said: Said;
}

/** Behind the message at `offset`, or before all of them. */
export interface Gap {
  kind: 'gap';
  offset: Offset;
  reason: string;
}

export type Entry = Message | Gap;

/** A page holds no more of one talk: older ones are read again from the history. */
export const KEPT = 20_000;

const before = (one: Entry, other: Entry): number =>
  compareOffsets(one.offset, other.offset) || (one.kind === other.kind ? 0 : one.kind === 'message' ? -1 : 1);

/** Adds what came, whether live, replayed or from the history: each once, in the order of offsets. */
export function merged(entries: readonly Entry[], came: readonly Entry[]): readonly Entry[] {
  if (came.length === 0) return entries;
  const sorted = [...came].sort(before);
  const last = entries.at(-1);
  const first = sorted[0];
  // The usual case: newer than all that is there.
  if (first && (!last || before(last, first) < 0)) return bounded([...entries, ...unique(sorted)]);
  return bounded(unique([...entries, ...sorted].sort(before)));
}

function unique(sorted: readonly Entry[]): Entry[] {
  return sorted.filter((entry, index) => index === 0 || before(sorted[index - 1] as Entry, entry) !== 0);
}

function bounded(entries: Entry[]): Entry[] {
  return entries.length > KEPT ? entries.slice(-KEPT) : entries;
}

export function without(entries: readonly Entry[], offset: Offset): readonly Entry[] {
  const rest = entries.filter((entry) => entry.kind !== 'message' || entry.offset !== offset);
  return rest.length === entries.length ? entries : rest;
}

/** How many messages of others came after what was read. */
export function unreadIn(entries: readonly Entry[], readUpTo: Offset | null, isMine: (message: Message) => boolean): number {
  let unread = 0;
  for (let index = entries.length - 1; index >= 0; index--) {
    const entry = entries[index] as Entry;
    if (readUpTo !== null && compareOffsets(entry.offset, readUpTo) <= 0) break;
    if (entry.kind === 'message' && !isMine(entry)) unread++;
  }
  return unread;
}
