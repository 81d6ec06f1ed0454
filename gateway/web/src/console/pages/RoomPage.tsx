// One room: who is in it, where its log stands, and what it says.

import { count } from '../format';
import { ours, theirs } from '../link/api';
import { useLink } from '../link/SocketProvider';
import { useAsk } from '../link/useAsk';
import type { Done, WholeRoom } from '../link/answers';
import { Act } from '../parts/Act';
import { Again, Answered, Missing } from '../parts/Answered';
import { Page, Part } from '../parts/Page';
import { Facts, Table } from '../parts/Table';
import { doneWith } from '../parts/words';
import { address } from '../routing';
import { TailPart } from './TailPart';

export function RoomPage({ room, namespace }: { room: string; namespace: string }) {
  const asked = useAsk<WholeRoom>(ours(['rooms', room], { namespace }));
  return (
    <Page title={`Room ${room}`} beside={<Again asked={asked} />}>
      <p>
        <a href={address('rooms')}>All rooms</a>
      </p>
      <Answered asked={asked}>
        {(whole) => (
          <>
            <Missing nodes={whole.missing} />
            <Facts
              facts={[
                ['namespace', whole.namespace],
                ['members', count(whole.members)],
                ['nodes', whole.nodes.map(({ node, members }) => `${node}: ${count(members)}`).join(', ') || 'none'],
                ['log', log(whole)],
              ]}
            />
          </>
        )}
      </Answered>
      <TailPart room={room} namespace={namespace} />
      {asked.data === undefined ? null : <Members room={asked.data} again={asked.again} />}
    </Page>
  );
}

function log({ log: kept }: WholeRoom): string {
  if (kept === null) return 'cannot be read';
  if (kept.last === null) return 'nothing is kept';
  return `from ${kept.first ?? 'its beginning'} to ${kept.last}`;
}

function Members({ room, again }: { room: WholeRoom; again: () => void }) {
  const { api } = useLink();
  const takeOut = (user: string) => async () => {
    const done = await api.send<Done>(
      'DELETE',
      theirs(['users', user, 'rooms', room.room], { namespace: room.namespace }),
    );
    again();
    return doneWith(done, 'taken out');
  };
  return (
    <Part title="Members">
      <Table
        caption="The first hundred members"
        columns={[
          {
            title: 'Session',
            cell: (session) => (
              <a href={address('sessions', session.id)} className="id">
                {session.id}
              </a>
            ),
          },
          { title: 'User', cell: (session) => <bdi>{session.user ?? '–'}</bdi> },
          { title: 'Node', cell: (session) => session.node },
          { title: 'Address', cell: (session) => session.address },
          {
            title: 'Do',
            cell: ({ user, id }) => (
              <Act
                label="Take out"
                of={user ?? id}
                blocked={user === null ? 'It has no user, by whom it could be taken out.' : undefined}
                run={takeOut(user ?? '')}
                ask={{
                  title: `Take ${user ?? id} out of ${room.room}?`,
                  text: 'All sessions of the user leave the room, those that are away too. Whoever may join it may do so again.',
                  verb: 'Take out',
                }}
              />
            ),
          },
        ]}
        rows={room.sessions}
        keyOf={(session) => session.id}
        empty="Nobody is in it."
      />
      {room.members > room.sessions.length ? (
        <p className="hint">
          <a href={address('sessions', undefined, { search: `room:${room.room}` })}>All {count(room.members)}</a>
        </p>
      ) : null}
    </Part>
  );
}
