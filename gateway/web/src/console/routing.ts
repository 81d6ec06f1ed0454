// Which page is shown, by what stands behind the # of the address: pages can be linked to, and nothing of them reaches a server.

import { useSyncExternalStore } from 'react';

export const PAGES = [
  'cluster',
  'sessions',
  'rooms',
  'refusals',
  'routes',
  'queues',
  'schedules',
  'notifications',
  'hooks',
  'health',
] as const;

export type PageName = (typeof PAGES)[number];

export interface Place {
  page: PageName;
  /** What of it: a session, a room, a queue. */
  of: string | undefined;
  /** How it is looked at: a search, a state, a namespace. */
  by: Readonly<Record<string, string>>;
}

export const HOME: Place = { page: 'cluster', of: undefined, by: {} };

/** What an address means; the first page, if it means nothing. */
export function read(hash: string): Place {
  const [path = '', query = ''] = split(hash.replace(/^#\/?/, ''));
  const [name = '', of] = path.split('/');
  const page = PAGES.find((known) => known === name);
  if (page === undefined) return HOME;
  return {
    page,
    of: of === undefined || of === '' ? undefined : decoded(of),
    by: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** The address of a place. What is empty is left out. */
export function address(page: PageName, of?: string, by: Readonly<Record<string, string | undefined>> = {}): string {
  const said = Object.entries(by).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '',
  );
  const query = new URLSearchParams(said).toString();
  return `#/${page}${of === undefined ? '' : `/${encodeURIComponent(of)}`}${query === '' ? '' : `?${query}`}`;
}

/** Changes how a page is looked at, without a step in the history for every letter; nothing, if the address is another one's by now. */
export function adjust({ page, of }: Pick<Place, 'page' | 'of'>, by: Readonly<Record<string, string | undefined>>): void {
  const place = read(location.hash);
  if (place.page !== page || place.of !== of) return;
  const to = address(page, of, { ...place.by, ...by });
  if (to === location.hash) return;
  history.replaceState(null, '', to);
  changed.forEach((tell) => {
    tell();
  });
}

const changed = new Set<() => void>();

/** The place that is shown. */
export function usePlace(): Place {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return read(hash);
}

function subscribe(tell: () => void): () => void {
  changed.add(tell);
  addEventListener('hashchange', tell);
  return () => {
    changed.delete(tell);
    removeEventListener('hashchange', tell);
  };
}

function split(text: string): string[] {
  const at = text.indexOf('?');
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
