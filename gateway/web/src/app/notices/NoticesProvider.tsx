// The notifications of the page's user, for all components.

import { createContext, type ReactNode, use, useEffect, useState, useSyncExternalStore } from 'react';

import { useConnection } from '../connection/SocketProvider';
import { Notices, type NoticeState } from './notices';

const Context = createContext<Notices | null>(null);

export function NoticesProvider({ children }: { children: ReactNode }) {
  const connection = useConnection();
  const [notices] = useState(() => new Notices(connection));
  useEffect(() => {
    notices.start();
    return () => notices.stop();
  }, [notices]);
  return <Context value={notices}>{children}</Context>;
}

export function useNotices(): Notices {
  const notices = use(Context);
  if (!notices) throw new Error('there is no NoticesProvider around this');
  return notices;
}

export function useNoticeState(): NoticeState {
  const notices = useNotices();
  return useSyncExternalStore(notices.watch, notices.state);
}
