// A list of sessions that was asked for, kept true by the events that came since.

import type { Session, Sessions } from '../link/answers';
import type { Socket } from '../link/wire';

/** What happened to a session. */
export type Change =
  | { kind: 'came'; socket: Socket }
  | { kind: 'named'; id: string; user: string | null }
  | { kind: 'left'; id: string }
  | { kind: 'rooms'; id: string; by: 1 | -1 };

export interface Roster {
  sessions: readonly Session[];
  /** Where the next page begins; nothing, if this is all. */
  next: string | null;
  total: number;
  missing: number;
}

export const EMPTY: Roster = { sessions: [], next: null, total: 0, missing: 0 };

/** The list with a further page behind it. What events put there meanwhile is there once. */
export function appended(roster: Roster, page: Sessions): Roster {
  const known = new Set(roster.sessions.map((session) => session.id));
  const fresh = page.sessions.filter((session) => !known.has(session.id));
  const sessions = [...roster.sessions, ...fresh].sort((one, other) => order(one.id, other.id));
  return { sessions, next: page.next, total: Math.max(page.total, sessions.length), missing: page.missing };
}

/** Whether a search finds a session, as far as what is told of it says. */
export function finds(search: string, socket: Socket): boolean {
  const text = search.trim();
  if (text === '') return true;
  const [, what, of = ''] = /^(user|room|address|node):(.*)$/.exec(text) ?? [];
  switch (what) {
    case 'user':
      return socket.data.user === of;
    case 'room':
      return socket.rooms.includes(of);
    case 'address':
      return socket.handshake.address.includes(of);
    case 'node':
      return socket.data.node === of;
    default: {
      const rooms = socket.rooms.filter((room) => room !== socket.id);
      return [socket.id, socket.data.user ?? '', socket.handshake.address, socket.nsp, ...rooms].some((part) =>
        part.includes(text),
      );
    }
  }
}

/** The list after what happened, in that order. The same, if none of it is in it. */
export function changed(roster: Roster, search: string, changes: readonly Change[]): Roster {
  let { total } = roster;
  let touched = false;
  const sessions = new Map(roster.sessions.map((session) => [session.id, session]));
  for (const change of changes) {
    const id = change.kind === 'came' ? change.socket.id : change.id;
    const before = sessions.get(id);
    if (change.kind === 'came') {
      if (before === undefined && !finds(search, change.socket)) continue;
      // Where the list does not reach yet, the next page has it.
      if (before === undefined && roster.next !== null && order(id, roster.sessions.at(-1)?.id ?? '') > 0) continue;
      if (before === undefined) total += 1;
      sessions.set(id, session(change.socket));
    } else if (before === undefined) {
      continue;
    } else if (change.kind === 'left') {
      sessions.delete(id);
      total -= 1;
    } else if (change.kind === 'named') {
      sessions.set(id, { ...before, user: change.user });
    } else {
      sessions.set(id, { ...before, rooms: Math.max(0, before.rooms + change.by) });
    }
    touched = true;
  }
  if (!touched) return roster;
  return {
    ...roster,
    total: Math.max(total, sessions.size),
    sessions: [...sessions.values()].sort((one, other) => order(one.id, other.id)),
  };
}

function order(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

function session(socket: Socket): Session {
  return {
    id: socket.id,
    node: socket.data.node,
    namespace: socket.nsp,
    user: socket.data.user,
    address: socket.handshake.address,
    transport: socket.transport,
    since: socket.handshake.issued,
    rooms: socket.rooms.filter((room) => room !== socket.id).length,
    queue: { packets: 0, bytes: 0 },
    refused: 0,
  };
}
