// The talks of the page's connection, for all components.

import { createContext, type ReactNode, use, useEffect, useState, useSyncExternalStore } from 'react';

import { useConnection } from '../connection/SocketProvider';
import { openKept, followPlace } from './places';
import type { State, Talk } from './state';
import { Talks } from './talks';

const Context = createContext<Talks | null>(null);

export function TalksProvider({ children }: { children: ReactNode }) {
  const connection = useConnection();
  const [talks] = useState(() => new Talks(connection));
  useEffect(() => {
    talks.start();
    openKept(talks);
    const stopFollowing = followPlace(talks);
    return () => {
      stopFollowing();
      talks.stop();
    };
  }, [talks]);
  return <Context value={talks}>{children}</Context>;
}

export function useTalks(): Talks {
  const talks = use(Context);
  if (!talks) throw new Error('there is no TalksProvider around this');
  return talks;
}

export function useTalkState(): State {
  const talks = useTalks();
  return useSyncExternalStore(talks.watch, talks.state);
}

export function useActive(): Talk | null {
  const { talks, active } = useTalkState();
  return active === null ? null : (talks[active] ?? null);
}
