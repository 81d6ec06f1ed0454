// The state of the connection in words, and what can be done about it.

import { useEffect, useState } from 'react';

import type { Refusal } from '../connection/refusal';
import { useConnection, useSeen } from '../connection/SocketProvider';
import { inWords } from '../connection/words';

interface Props {
  onAgain: () => void;
  onLeave: (refusal: Refusal | null) => void;
}

export function ConnectionState({ onAgain, onLeave }: Props) {
  const connection = useConnection();
  const { link } = useSeen();
  const waits = link.state === 'away' && link.retryAt !== null;
  const now = useNow(waits);
  const { tone, state, more } = inWords(link, now);
  // Who listens is told what happened once, and not each second how long it still takes.
  const told = inWords(link.state === 'away' ? { ...link, retryAt: null } : link, 0);
  return (
    <div className={`connection ${tone}`}>
      <p aria-hidden="true"><strong>{state}</strong> <span className="more">{more}</span></p>
      <p className="hidden" role="status">{told.state}. {told.more}</p>
      {link.state === 'away' && <button onClick={connection.tryNow}>Try now</button>}
      {link.state === 'ended' && !link.refusal && <button onClick={onAgain}>Begin a new session</button>}
      {link.state === 'ended' && link.refusal && <button onClick={() => onLeave(link.refusal)}>Sign in</button>}
    </div>
  );
}

function useNow(ticks: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!ticks) return;
    const tick = () => setNow(Date.now());
    const first = setTimeout(tick, 0);
    const timer = setInterval(tick, 500);
    return () => {
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [ticks]);
  return now;
}
