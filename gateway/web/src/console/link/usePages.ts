// A long list that is asked for by pages, as they are come to.

import { useCallback, useEffect, useRef, useState } from 'react';

import { explain } from './api';
import { useLink } from './SocketProvider';

interface Paged<List> {
  list: List;
  /** Why there is nothing, or no more. */
  why: string | undefined;
  /** Whether the first page is waited for. */
  busy: boolean;
  /** Asks for the next page, if there is one. */
  more: () => void;
  /** Begins anew. */
  again: () => void;
  /** Changes what is there. */
  change: (how: (list: List) => List) => void;
}

interface Pages<Page, List> {
  /** Where a page is; the first one, if it is not said after what. */
  at: (after: string | undefined) => string;
  empty: List;
  appended: (list: List, page: Page) => List;
}

/** The list. `at`, `empty` and `appended` are asked once for each list, which is known by where it begins. */
export function usePages<Page, List extends { next?: string | null }>({
  at,
  empty,
  appended,
}: Pages<Page, List>): Paged<List> {
  const { api, turn: connection } = useLink();
  const [turn, setTurn] = useState(0);
  const first = at(undefined);
  const of = `${connection} ${turn} ${first}`;
  const [shown, setShown] = useState<{ of: string; first: string; list: List; why: string | undefined }>({
    of: '',
    first,
    list: empty,
    why: undefined,
  });
  const way = useRef({ at, appended });
  useEffect(() => {
    way.current = { at, appended };
  });

  const running = useRef<{ stop: AbortController; asking: boolean }>(undefined);
  const page = useCallback(
    async (run: { stop: AbortController; asking: boolean }, after: string | undefined) => {
      run.asking = true;
      try {
        const found = await api.get<Page>(way.current.at(after), run.stop.signal);
        setShown((before) => ({
          of,
          first,
          list: way.current.appended(after === undefined ? empty : before.list, found),
          why: undefined,
        }));
      } catch (error) {
        // What is there already stays, unless it is another list.
        const kept = (before: { first: string; list: List }) => (before.first === first ? before.list : empty);
        if (!run.stop.signal.aborted) setShown((before) => ({ of, first, list: kept(before), why: explain(error) }));
      } finally {
        run.asking = false;
      }
    },
    [api, of, first, empty],
  );
  useEffect(() => {
    const run = { stop: new AbortController(), asking: false };
    running.current = run;
    void page(run, undefined);
    return () => run.stop.abort();
  }, [page]);

  const next = shown.of === of ? shown.list.next : undefined;
  const more = useCallback(() => {
    const run = running.current;
    if (next !== null && next !== undefined && run?.asking === false) void page(run, next);
  }, [next, page]);
  const again = useCallback(() => setTurn((before) => before + 1), []);
  const change = useCallback((how: (list: List) => List) => {
    setShown((before) => {
      const list = how(before.list);
      return list === before.list ? before : { ...before, list };
    });
  }, []);
  return { list: shown.list, why: shown.why, busy: shown.of !== of, more, again, change };
}
