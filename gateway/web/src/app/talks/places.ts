// Where the page is: the address names the talk (a link to it), and the tab keeps the others over a reload.

import type { Offset } from '../../shared/offsets';
import { keyOf, type Talk } from './state';
import type { Talks } from './talks';

const KEPT = 'gateway:rooms';
const FIRST_ROOM = 'lobby';

export function linkTo(kind: Talk['kind'], name: string): string {
  return `#/${kind}/${encodeURIComponent(name)}`;
}

export function placeIn(hash: string): { kind: Talk['kind']; name: string } | null {
  const parts = /^#\/(room|direct)\/(.+)$/.exec(hash);
  if (!parts) return null;
  try {
    return { kind: parts[1] as Talk['kind'], name: decodeURIComponent(parts[2] as string) };
  } catch {
    return null;
  }
}

/** The rooms of before a reload, and the one that the address names. */
export function openKept(talks: Talks): void {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? '[]') as { name: string; readUpTo: Offset | null }[];
  for (const { name, readUpTo } of kept) talks.open('room', name, readUpTo);
  if (kept.length === 0 && !placeIn(location.hash)) talks.open('room', FIRST_ROOM);
}

/** The address and the active talk follow each other, and who looks away has not read. */
export function followPlace(talks: Talks): () => void {
  /** The talk that the address was last made to name. */
  let named: string | null = null;
  const go = (): void => {
    const place = placeIn(location.hash);
    if (place) return talks.activate(talks.open(place.kind, place.name));
    named = null;
    note();
  };
  const look = (): void => talks.dispatch({ type: 'watched', watched: !document.hidden });
  const note = (): void => {
    const all = Object.values(talks.state().talks).filter(({ kind }) => kind === 'room');
    sessionStorage.setItem(KEPT, JSON.stringify(all.map(({ name, readUpTo }) => ({ name, readUpTo }))));
    const active = talks.state().talks[talks.state().active ?? ''];
    // A link that is followed stands in the address before it is told of: what comes in between takes nothing back.
    if (!active || active.key === named) return;
    named = active.key;
    const place = placeIn(location.hash);
    if (!place || keyOf(place.kind, place.name) !== active.key) history.replaceState(null, '', linkTo(active.kind, active.name));
  };
  go();
  const first = Object.keys(talks.state().talks)[0];
  if (talks.state().active === null && first !== undefined) talks.activate(first);
  look();
  note();
  const unwatch = talks.watch(note);
  addEventListener('hashchange', go);
  document.addEventListener('visibilitychange', look);
  return () => {
    unwatch();
    removeEventListener('hashchange', go);
    document.removeEventListener('visibilitychange', look);
  };
}
