// Rooms that have somebody, found by a search.

import { count, several } from '../format';
import { ours } from '../link/api';
import { useHeard } from '../link/SocketProvider';
import { useBatches } from '../link/useBatches';
import { usePages } from '../link/usePages';
import { stepped, type Step } from '../live/occupancy';
import type { Room, Rooms } from '../link/answers';
import { Missing } from '../parts/Answered';
import { Field } from '../parts/Field';
import { Page } from '../parts/Page';
import { Rows } from '../parts/Rows';
import type { Column } from '../parts/Table';
import { useSearch } from '../parts/useSearch';
import { address, type Place } from '../routing';
import { RoomPage } from './RoomPage';

const COLUMNS: readonly Column<Room>[] = [
  {
    title: 'Room',
    width: 12,
    cell: (room) => (
      <a href={address('rooms', room.room, { namespace: room.namespace })}>
        <bdi>{room.room}</bdi>
      </a>
    ),
  },
  { title: 'Namespace', cell: (room) => room.namespace },
  { title: 'Members', figure: true, cell: (room) => count(room.members) },
  { title: 'Nodes', figure: true, cell: (room) => count(room.nodes) },
];

const PAGE = 500;
const NONE: Rooms = { rooms: [], next: null, missing: 0 };
const appended = (list: Rooms, page: Rooms): Rooms => ({ ...page, rooms: [...list.rooms, ...page.rooms] });

export function RoomsPage({ place }: { place: Place }) {
  return place.of === undefined ? (
    <Found place={place} />
  ) : (
    <RoomPage room={place.of} namespace={place.by['namespace'] ?? '/'} />
  );
}

function Found({ place }: { place: Place }) {
  const { text, setText, search } = useSearch(place, 'search');
  const at = (after: string | undefined) => ours(['rooms'], { search, after, limit: PAGE });
  const { list, why, busy, more, again, change } = usePages<Rooms, Rooms>({ at, empty: NONE, appended });
  const { rooms, next, missing } = list;
  const note = useBatches<Step>((steps) => change((before) => stepped(before, steps)));
  useHeard('room_joined', (namespace: string, room: string) => note({ namespace, room, by: 1 }));
  useHeard('room_left', (namespace: string, room: string) => note({ namespace, room, by: -1 }));
  return (
    <Page
      title="Rooms"
      beside={
        <button type="button" onClick={again}>
          Refresh
        </button>
      }
    >
      <search className="row">
        <Field label="Search rooms" type="search" value={text} change={setText} placeholder="lobby" />
        <p role="status" className="hint">
          {busy ? 'Looking …' : `${several(rooms.length, 'room')}${next === null ? '' : ', and more below'}.`}
        </p>
      </search>
      <Missing nodes={missing} />
      {why === undefined ? null : (
        <p role="alert" className="notice bad">
          {why}
        </p>
      )}
      <Rows
        caption="Rooms"
        columns={COLUMNS}
        rows={rooms}
        keyOf={(room) => `${room.namespace} ${room.room}`}
        empty={busy ? 'Looking …' : 'No room with somebody in it is as you search.'}
        atEnd={more}
      />
    </Page>
  );
}
