// The app: who somebody is, and then the talks of one connection.

import { useState } from 'react';

import type { Refusal } from './connection/refusal';
import { SocketProvider } from './connection/SocketProvider';
import { type Identity, keep, kept } from './identity';
import { NoticesProvider } from './notices/NoticesProvider';
import { Entry } from './parts/Entry';
import { Page } from './parts/Page';
import { TalksProvider } from './talks/TalksProvider';

interface Who {
  identity: Identity | null;
  /** Why who it was before may not be here. */
  refusal: Refusal | null;
  turn: number;
}

export function App() {
  const [who, setWho] = useState<Who>(() => ({ identity: kept(), refusal: null, turn: 0 }));
  const become = (identity: Identity | null, refusal: Refusal | null = null) => {
    keep(identity);
    setWho(({ turn }) => ({ identity, refusal, turn: turn + 1 }));
  };
  if (!who.identity) return <Entry refusal={who.refusal} onEnter={become} />;
  return (
    <SocketProvider key={who.turn} identity={who.identity}>
      <TalksProvider>
        <NoticesProvider>
          <Page onLeave={(refusal) => become(null, refusal)} onAgain={() => become(who.identity)} />
        </NoticesProvider>
      </TalksProvider>
    </SocketProvider>
  );
}
