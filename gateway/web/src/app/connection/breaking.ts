// Trying out what happens to a connection that breaks, and to what is said meanwhile.

import { io } from 'socket.io-client';

import type { Connection } from './connection';

/** How long it stays away: long enough to be read. */
export const AWAY_MS = 4_000;
export const MESSAGES = 12;

export function cut(connection: Connection): void {
  connection.cut(AWAY_MS);
}

/** Cuts, and has another connection say something in the room before this one is back. */
export async function cutAndPublish(connection: Connection, room: string): Promise<void> {
  const { identity } = connection;
  connection.cut(AWAY_MS);
  const other = io({ forceNew: true, auth: identity.kind === 'token' ? { token: identity.token } : {} });
  try {
    if (identity.kind === 'named') await other.emitWithAck('identify', { user: 'another connection' });
    await other.emitWithAck('join', { room });
    for (let number = 1; number <= MESSAGES; number++) {
      await other.emitWithAck('publish', { room, data: `${number} of ${MESSAGES}, said while you were away` });
    }
  } finally {
    other.disconnect();
  }
}
