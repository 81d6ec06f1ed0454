// A session over a reload: the page that goes leaves what the one that comes needs, in this tab and for a moment.

import type { Offset } from '../../shared/offsets';

export interface Resumed {
  pid: string;
  offset: Offset | null;
}

const KEPT = 'gateway:session';

/** Only a page that goes leaves it. While one is there, a copy of its tab finds nothing that it could take over. */
export function leave(session: Resumed): void {
  sessionStorage.setItem(KEPT, JSON.stringify(session));
}

export function take(): Resumed | null {
  const text = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  return text === null ? null : (JSON.parse(text) as Resumed);
}
