// The list of sessions of a search: its pages as they are come to, and what happens to them meanwhile.

import { useState } from 'react';

import { ours } from '../link/api';
import { useBatches } from '../link/useBatches';
import { useHeard } from '../link/SocketProvider';
import { usePages } from '../link/usePages';
import type { Sessions } from '../link/answers';
import type { ServerStats, Socket } from '../link/wire';
import { appended, changed, EMPTY, type Change, type Roster } from '../live/roster';

/** A page: much enough that few are needed, little enough that each is quick. */
const PAGE = 500;

export function useRoster(search: string) {
  const at = (after: string | undefined) => ours(['sessions'], { search, after, limit: PAGE });
  const { list: roster, change, again: anew, ...pages } = usePages<Sessions, Roster>({ at, empty: EMPTY, appended });
  const [untold, setUntold] = useState(0);
  const note = useBatches<Change>((changes) => change((list) => changed(list, search, changes)));
  useHeard('socket_connected', (socket: Socket) => note({ kind: 'came', socket }));
  useHeard('socket_updated', ({ id, data }: Pick<Socket, 'id' | 'data'>) =>
    note({ kind: 'named', id, user: data.user }),
  );
  useHeard('socket_disconnected', (_namespace: string, id: string) => note({ kind: 'left', id }));
  useHeard('room_joined', (_namespace: string, room: string, id: string) => {
    if (room !== id) note({ kind: 'rooms', id, by: 1 });
  });
  useHeard('room_left', (_namespace: string, room: string, id: string) => {
    if (room !== id) note({ kind: 'rooms', id, by: -1 });
  });
  useHeard('server_stats', (stats: ServerStats) => {
    if (stats.leftOut > 0) setUntold((before) => before + stats.leftOut);
  });
  const again = () => {
    setUntold(0);
    anew();
  };
  /** How much happened that events did not tell one by one. */
  return { roster, untold, again, ...pages };
}
