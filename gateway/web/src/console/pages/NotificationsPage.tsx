// What a user was told and may read later.

import { useState } from 'react';

import { moment, several } from '../format';
import { theirs } from '../link/api';
import { useLink, useRole } from '../link/SocketProvider';
import { usePages } from '../link/usePages';
import type { Notification } from '../link/answers';
import { Act, VIEWER } from '../parts/Act';
import { Badge } from '../parts/Badge';
import { Field } from '../parts/Field';
import { Page, Part } from '../parts/Page';
import { Table } from '../parts/Table';
import { json } from '../parts/words';
import { address, type Place } from '../routing';

interface Told {
  notifications: Notification[];
  unread: number;
  next?: string;
}

const NONE: Told = { notifications: [], unread: 0 };
const appended = (list: Told, page: Told): Told => ({
  ...page,
  notifications: [...list.notifications, ...page.notifications],
});

export function NotificationsPage({ place }: { place: Place }) {
  const [user, setUser] = useState(place.of ?? '');
  const role = useRole();
  return (
    <Page title="Notifications">
      <form
        className="row"
        onSubmit={(event) => {
          event.preventDefault();
          if (user.trim() !== '') location.hash = address('notifications', user.trim());
        }}
      >
        <Field label="User" value={user} change={setUser} required />
        <button type="submit">Show</button>
      </form>
      {place.of === undefined ? (
        <p className="empty">Say whose notifications you mean.</p>
      ) : role === 'viewer' ? (
        <p className="notice warn">What people are told is not for viewers. {VIEWER}</p>
      ) : (
        <Of user={place.of} />
      )}
    </Page>
  );
}

function Of({ user }: { user: string }) {
  const { api } = useLink();
  const at = (after: string | undefined) => theirs(['users', user, 'notifications'], { after, limit: 50 });
  const { list, why, busy, more, again } = usePages<Told, Told>({ at, empty: NONE, appended });
  const mark = async () => {
    await api.send('PUT', theirs(['users', user, 'notifications', 'read']));
    again();
    return 'All of it is marked as read.';
  };
  const remove = (id: string) => async () => {
    await api.send('DELETE', theirs(['users', user, 'notifications', id]));
    again();
    return 'It is taken back.';
  };
  return (
    <Part title={`Of ${user}`} beside={<Act label="Mark all as read" run={mark} />}>
      {why === undefined ? null : (
        <p role="alert" className="notice bad">
          {why}
        </p>
      )}
      <p role="status" className="hint">
        {busy ? 'Looking …' : `${several(list.unread, 'one is', 'are')} unread.`}
      </p>
      {busy ? null : (
        <Table
          caption={`Notifications of ${user}, newest first`}
          columns={[
            { title: 'When', cell: (one) => moment(one.timestamp) },
            {
              title: 'Read',
              cell: (one) => <Badge tone={one.isRead ? 'plain' : 'warn'}>{one.isRead ? 'read' : 'unread'}</Badge>,
            },
            { title: 'From', cell: (one) => <bdi>{one.senderId ?? 'a back end'}</bdi> },
            {
              title: 'Message',
              cell: (one) => <bdi>{typeof one.message === 'string' ? one.message : json(one.message)}</bdi>,
            },
            {
              title: 'Data',
              cell: (one) =>
                one.data === undefined || one.data === null ? '–' : <code dir="auto">{json(one.data)}</code>,
            },
            {
              title: 'Do',
              cell: (one) => (
                <Act
                  label="Take back"
                  of={one.id}
                  run={remove(one.id)}
                  ask={{
                    title: 'Take this notification back?',
                    text: `${user} does not find it any more, on any device.`,
                    verb: 'Take back',
                  }}
                />
              ),
            },
          ]}
          rows={list.notifications}
          keyOf={(one) => one.id}
          empty={`${user} was told nothing that is kept.`}
        />
      )}
      {list.next === undefined ? null : (
        <button type="button" onClick={more}>
          More
        </button>
      )}
    </Part>
  );
}
