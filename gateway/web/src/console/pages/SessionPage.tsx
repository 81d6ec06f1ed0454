// One session: who it is, how it fares, and what can be done about it.

import { bytes, moment, several } from '../format';
import { ours } from '../link/api';
import { useHeard, useLink } from '../link/SocketProvider';
import { useAsk } from '../link/useAsk';
import type { Done, WholeSession } from '../link/answers';
import type { Socket } from '../link/wire';
import { Act } from '../parts/Act';
import { Again, Answered } from '../parts/Answered';
import { Badge } from '../parts/Badge';
import { Page, Part } from '../parts/Page';
import { Facts, Table } from '../parts/Table';
import { doneWith } from '../parts/words';
import { address } from '../routing';
import { useState } from 'react';

export function SessionPage({ id }: { id: string }) {
  const asked = useAsk<WholeSession>(ours(['sessions', id]));
  const [left, setLeft] = useState<string>();
  useHeard('socket_disconnected', (_namespace: string, who: string, reason: string) => {
    if (who === id) setLeft(reason);
  });
  useHeard('socket_connected', (socket: Socket) => {
    if (socket.id !== id) return;
    setLeft(undefined);
    asked.again();
  });
  return (
    <Page title={`Session ${id}`} beside={<Again asked={asked} />}>
      <p>
        <a href={address('sessions')}>All sessions</a>
      </p>
      {left === undefined ? null : (
        <p role="status" className="notice warn">
          It is not connected any more: {left}.
        </p>
      )}
      <Answered asked={asked}>{(session) => <Whole session={session} gone={left !== undefined} />}</Answered>
    </Page>
  );
}

function Whole({ session, gone }: { session: WholeSession; gone: boolean }) {
  return (
    <>
      <Facts
        facts={[
          ['user', session.user === null ? 'nobody in particular' : <User user={session.user} />],
          ['roles', session.roles.length === 0 ? 'none' : session.roles.join(', ')],
          ['node', session.node],
          ['namespace', session.namespace],
          ['address', session.address],
          ['transport', session.transport],
          ['since', moment(session.since)],
          ['waits for its client', `${several(session.queue.packets, 'packet')}, ${bytes(session.queue.bytes)}`],
          ['refused events', String(session.refused)],
        ]}
      />
      <Controls session={session} gone={gone} />
      <Part title="Last refusals">
        <Table
          caption="Last refusals of this session"
          columns={[
            { title: 'When', cell: (refusal) => moment(refusal.at) },
            { title: 'Event', cell: (refusal) => <bdi>{refusal.event}</bdi> },
            { title: 'Code', cell: (refusal) => <code>{refusal.code}</code> },
          ]}
          rows={session.refusals}
          keyOf={(refusal) => `${refusal.at} ${refusal.event} ${refusal.code}`}
          empty="Nothing of it was refused."
        />
      </Part>
      <Part title="Rooms">
        <Table
          caption="Rooms of this session"
          columns={[
            {
              title: 'Room',
              cell: (one) => (
                <a href={address('rooms', one.room, { namespace: session.namespace })}>
                  <bdi>{one.room}</bdi>
                </a>
              ),
            },
            { title: 'By', cell: (one) => one.via },
          ]}
          rows={session.rooms}
          keyOf={(one) => `${one.via} ${one.room}`}
          empty="It is in no room."
        />
        {session.roomsTotal > session.rooms.length ? (
          <p className="hint">{several(session.roomsTotal, 'room')} in all.</p>
        ) : null}
      </Part>
    </>
  );
}

function User({ user }: { user: string }) {
  return (
    <>
      <bdi>{user}</bdi> <Badge tone="plain">user</Badge>{' '}
      <a href={address('sessions', undefined, { search: `user:${user}` })}>sessions</a>{' '}
      <a href={address('notifications', user)}>notifications</a>
    </>
  );
}

function Controls({ session, gone }: { session: WholeSession; gone: boolean }) {
  const { api } = useLink();
  const { id, user } = session;
  const at = (revoke?: boolean) => ours(['sessions', id], { revoke });
  const who = user === null ? 'A client' : `A client of ${user}`;
  return (
    <div className="row controls" role="group" aria-label="What to do about it">
      <Act
        label="Move"
        blocked={gone ? 'It is not connected.' : undefined}
        run={async () => doneWith(await api.send<Done>('POST', ours(['sessions', id, 'move'])), 'moved')}
        ask={{
          title: 'Move this session?',
          text: `Its connection ends, and its client comes back with everything it missed, to a node that the balancer chooses.`,
          verb: 'Move it',
        }}
      />
      <Act
        label="End"
        run={async () => doneWith(await api.send<Done>('DELETE', at()), 'ended for good')}
        ask={{
          title: 'End this session?',
          text: `${who} is disconnected, is told so, and does not come back by itself. It may begin a new session.`,
          verb: 'End it',
        }}
      />
      <Act
        label="End and revoke"
        blocked={user === null ? 'It has no user, whose tokens could be taken back.' : undefined}
        run={async () =>
          doneWith(await api.send<Done>('DELETE', at(true)), 'ended for good, and the tokens of its user taken back')
        }
        ask={{
          title: `Take back all tokens of ${user ?? 'its user'}?`,
          text: `This session and all others of the user end, and nobody gets in with a token that was issued until now.`,
          verb: 'End and revoke',
        }}
      />
    </div>
  );
}
