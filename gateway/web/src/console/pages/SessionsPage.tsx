// Sessions of all nodes: found by a search, and kept true by what happens.

import { bytes, count, moment, several } from '../format';
import { useLive } from '../link/useLive';
import type { Session } from '../link/answers';
import { totals } from '../live/cluster';
import { Missing } from '../parts/Answered';
import { Field } from '../parts/Field';
import { Page } from '../parts/Page';
import { Rows } from '../parts/Rows';
import type { Column } from '../parts/Table';
import { useSearch } from '../parts/useSearch';
import { address, type Place } from '../routing';
import { SessionPage } from './SessionPage';
import { useRoster } from './useRoster';

const COLUMNS: readonly Column<Session>[] = [
  {
    title: 'Session',
    width: 8.5,
    cell: (session) => (
      <a href={address('sessions', session.id)} className="id">
        {session.id}
      </a>
    ),
  },
  { title: 'User', width: 6.5, cell: (session) => <bdi>{session.user ?? '–'}</bdi> },
  { title: 'Node', cell: (session) => session.node },
  { title: 'Namespace', width: 6.5, cell: (session) => session.namespace },
  { title: 'Address', width: 7.5, cell: (session) => session.address },
  { title: 'By', width: 6.5, cell: (session) => session.transport },
  { title: 'Rooms', width: 4.5, figure: true, cell: (session) => count(session.rooms) },
  { title: 'Waits', width: 5, figure: true, cell: (session) => bytes(session.queue.bytes) },
  { title: 'Refused', width: 5, figure: true, cell: (session) => count(session.refused) },
  { title: 'Since', width: 5.5, figure: true, cell: (session) => moment(session.since) },
];

export function SessionsPage({ place }: { place: Place }) {
  return place.of === undefined ? <Found place={place} /> : <SessionPage id={place.of} />;
}

function Found({ place }: { place: Place }) {
  const { text, setText, search } = useSearch(place, 'search');
  const { roster, why, busy, more, again, untold } = useRoster(search);
  // Of all sessions figures tell how many there are; of those that are found, who was listed and comes and goes since.
  const all = useLive((live) => totals(live.cluster, live.now).sessions);
  return (
    <Page
      title="Sessions"
      beside={
        <button type="button" onClick={again}>
          Refresh
        </button>
      }
    >
      <search className="row">
        <Field
          label="Search sessions"
          type="search"
          value={text}
          change={setText}
          placeholder="alice, 192.0.2., room:lobby, node:…"
        />
        <p role="status" className="hint">
          {busy
            ? 'Looking …'
            : search === ''
              ? `${several(Math.max(all, roster.sessions.length), 'session')}.`
              : `${several(roster.total, 'session')} found.`}
          {untold > 0 ? ` ${several(untold, 'change')} too many to be shown one by one: refresh for all.` : ''}
        </p>
      </search>
      <Missing nodes={roster.missing} />
      {why === undefined ? null : (
        <p role="alert" className="notice bad">
          {why}
        </p>
      )}
      <Rows
        caption="Sessions"
        columns={COLUMNS}
        rows={roster.sessions}
        keyOf={(session) => session.id}
        empty={busy ? 'Looking …' : 'No session is as you search.'}
        atEnd={more}
      />
    </Page>
  );
}
