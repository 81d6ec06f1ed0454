// The one connection of the page, for all components.

import { createContext, type ReactNode, use, useEffect, useState, useSyncExternalStore } from 'react';

import type { Identity } from '../identity';
import { Connection, type Seen } from './connection';

const Context = createContext<Connection | null>(null);

/** A new identity needs a new provider (`key`): its session is another one. */
export function SocketProvider({ identity, children }: { identity: Identity; children: ReactNode }) {
  const [connection] = useState(() => new Connection(identity));
  useEffect(() => {
    connection.start();
    return () => connection.stop();
  }, [connection]);
  return <Context value={connection}>{children}</Context>;
}

export function useConnection(): Connection {
  const connection = use(Context);
  if (!connection) throw new Error('there is no SocketProvider around this');
  return connection;
}

/** What is seen of it; the component is drawn anew when that changes. */
export function useSeen(): Seen {
  const connection = useConnection();
  return useSyncExternalStore(connection.watch, connection.seen);
}
