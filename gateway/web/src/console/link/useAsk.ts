// What a page asks for when it is opened, and again when it is told to.

import { useCallback, useEffect, useState } from 'react';

import { explain } from './api';
import { useLink } from './SocketProvider';

export interface Asked<T> {
  data: T | undefined;
  /** Why there is nothing, or nothing newer. */
  why: string | undefined;
  again: () => void;
}

/** The same, asked again and again while one looks: for what nothing tells of. */
export function useAskEvery<T>(milliseconds: number, at: string): Asked<T> {
  const asked = useAsk<T>(at);
  const { again } = asked;
  useEffect(() => {
    const timer = setInterval(again, milliseconds);
    return () => clearInterval(timer);
  }, [again, milliseconds]);
  return asked;
}

/** Asks for what is at an address; for nothing, if there is none. */
export function useAsk<T>(at: string | undefined): Asked<T> {
  const { api, turn: connection } = useLink();
  const [turn, setTurn] = useState(0);
  const [answer, setAnswer] = useState<{ at: string; data: T | undefined; why: string | undefined }>();
  useEffect(() => {
    if (at === undefined) return;
    const stop = new AbortController();
    api.get<T>(at, stop.signal).then(
      (data) => setAnswer({ at, data, why: undefined }),
      (error: unknown) => {
        if (stop.signal.aborted) return;
        setAnswer((before) => ({ at, data: before?.at === at ? before.data : undefined, why: explain(error) }));
      },
    );
    return () => stop.abort();
  }, [api, at, turn, connection]);
  const again = useCallback(() => setTurn((before) => before + 1), []);
  const current = answer?.at === at ? answer : undefined;
  return { data: current?.data, why: current?.why, again };
}
