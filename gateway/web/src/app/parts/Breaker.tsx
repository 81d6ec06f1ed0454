// Switches that break the connection, to see what the gateway does about it.

import { cut, cutAndPublish, MESSAGES } from '../connection/breaking';
import { useConnection, useSeen } from '../connection/SocketProvider';
import { useActive } from '../talks/TalksProvider';

export function Breaker() {
  const connection = useConnection();
  const { session } = useSeen();
  const active = useActive();
  const room = active?.kind === 'room' ? active.name : null;
  return (
    <section className="breaker" aria-label="Try what happens">
      <h2>Try what happens</h2>
      <button disabled={!session} onClick={() => cut(connection)}>Cut my connection</button>
      <button disabled={!session || room === null} onClick={() => room !== null && void cutAndPublish(connection, room)}>Cut and publish meanwhile</button>
      <p className="faint">The second has {MESSAGES} messages said here while you are away.</p>
    </section>
  );
}
