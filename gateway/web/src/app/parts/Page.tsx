// Everything of the app that needs a connection: talks beside each other on a desk, one at a time on a phone.

import { useEffect, useState } from 'react';

import { Dialog } from '../../shared/Dialog';
import type { Refusal } from '../connection/refusal';
import { useConnection, useSeen } from '../connection/SocketProvider';
import { nameOf } from '../identity';
import { useActive, useTalkState } from '../talks/TalksProvider';
import { Bell } from './Bell';
import { Breaker } from './Breaker';
import { ConnectionState } from './ConnectionState';
import { People } from './People';
import { TalkList } from './TalkList';
import { TalkView } from './TalkView';

interface Props {
  onLeave: (refusal: Refusal | null) => void;
  onAgain: () => void;
}

export function Page({ onLeave, onAgain }: Props) {
  const { identity } = useConnection();
  const { unnamed } = useSeen();
  const active = useActive();
  const unread = useUnread();
  const [isListOpen, openList] = useState(false);
  const title = active ? nameOf(active.name) : 'Rooms';

  useEffect(() => {
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${title} – realtime gateway`;
  }, [title, unread]);
  // A name that somebody else has is chosen anew.
  useEffect(() => {
    if (unnamed) onLeave(unnamed);
  }, [unnamed, onLeave]);

  const list = <TalkList onChosen={() => openList(false)} />;
  return (
    <div className="page">
      <header className="top">
        <button className="phone" onClick={() => openList(true)} aria-haspopup="dialog">
          Rooms{unread > 0 && <span className="count">{unread}<span className="hidden"> unread</span></span>}
        </button>
        <ConnectionState onAgain={onAgain} onLeave={onLeave} />
        <Bell />
        <button className="plain who" onClick={() => onLeave(null)} title="Be somebody else">
          <bdi>{identity.kind === 'nobody' ? 'no name' : nameOf(identity.user)}</bdi><span className="hidden">: be somebody else</span>
        </button>
      </header>
      <nav className="side desk" aria-label="Rooms and people">
        {list}
        <Breaker />
      </nav>
      <Dialog label="Rooms" isOpen={isListOpen} onClose={() => openList(false)}>
        {list}
        <Breaker />
      </Dialog>
      {active ? <TalkView key={active.key} talk={active} /> : <main className="talk"><p className="empty">Join a room.</p></main>}
      {active?.kind === 'room' && <aside className="people desk" aria-label="Who is here"><People talk={active} /></aside>}
    </div>
  );
}

function useUnread(): number {
  return Object.values(useTalkState().talks).reduce((sum, { unread }) => sum + unread, 0);
}
