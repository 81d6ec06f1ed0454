// A list of sessions, and what happens to them.

import { describe, expect, it } from 'vitest';

import type { Session } from '../link/answers';
import type { Socket } from '../link/wire';
import { appended, changed, EMPTY, finds, type Change, type Roster } from './roster';

function session(id: string, more: Partial<Session> = {}): Session {
  const empty = { packets: 0, bytes: 0 };
  const of = { id, node: 'n1', namespace: '/', user: 'alice', address: '192.0.2.1', transport: 'websocket' };
  return { ...of, since: 5, rooms: 1, queue: empty, refused: 0, ...more };
}

function socket(id: string, more: Partial<Socket> = {}): Socket {
  const handshake = { address: '192.0.2.1', issued: 5 };
  return {
    id,
    nsp: '/',
    transport: 'websocket',
    data: { user: 'alice', node: 'n1' },
    handshake,
    rooms: ['lobby', id],
    ...more,
  };
}

const ids = (roster: Roster) => roster.sessions.map(({ id }) => id);
const page = (next: string | null, ...sessions: Session[]) => ({ sessions, next, total: 9, missing: 0 });
const came = (of: Socket): Change => ({ kind: 'came', socket: of });

describe('pages', () => {
  it('follow each other, and have nobody twice', () => {
    const first = appended(EMPTY, page('b', session('a'), session('b')));
    const meanwhile = changed(first, '', [came(socket('aa'))]);
    const second = appended(meanwhile, page(null, session('aa'), session('c')));
    expect(ids(second)).toEqual(['a', 'aa', 'b', 'c']);
    expect(second.next).toBeNull();
  });
});

describe('what happens', () => {
  const all = appended(EMPTY, page(null, session('a'), session('c')));

  it('puts in who comes, where it belongs, as it would be found', () => {
    const now = changed(all, '', [came(socket('b'))]);
    expect(ids(now)).toEqual(['a', 'b', 'c']);
    expect(now.sessions[1]).toEqual(session('b'));
    expect(now.total).toBe(10);
  });

  it('leaves who comes behind what is there to the next page', () => {
    const some = appended(EMPTY, page('c', session('a'), session('c')));
    const now = changed(some, '', [came(socket('b')), came(socket('d'))]);
    expect([ids(now), now.total]).toEqual([['a', 'b', 'c'], 10]);
  });

  it('takes out who leaves, and only who is there', () => {
    const now = changed(all, '', [
      { kind: 'left', id: 'a' },
      { kind: 'left', id: 'x' },
    ]);
    expect([ids(now), now.total]).toEqual([['c'], 8]);
  });

  it('goes in its order: who comes and leaves is not there, who moves is once', () => {
    const gone = changed(all, '', [came(socket('b')), { kind: 'left', id: 'b' }]);
    expect(ids(gone)).toEqual(['a', 'c']);
    const moved = changed(all, '', [
      { kind: 'left', id: 'a' },
      came(socket('a', { data: { user: 'alice', node: 'n2' } })),
    ]);
    expect([ids(moved), moved.sessions[0]?.node, moved.total]).toEqual([['a', 'c'], 'n2', 9]);
  });

  it('changes the name and the rooms', () => {
    const now = changed(all, '', [
      { kind: 'named', id: 'a', user: 'bob' },
      { kind: 'rooms', id: 'a', by: 1 },
      { kind: 'rooms', id: 'c', by: -1 },
      { kind: 'rooms', id: 'c', by: -1 },
    ]);
    expect(now.sessions.map(({ user, rooms }) => [user, rooms])).toEqual([
      ['bob', 2],
      ['alice', 0],
    ]);
  });

  it('that is none of the list leaves it the same', () => {
    expect(changed(all, 'user:bob', [came(socket('b')), { kind: 'left', id: 'x' }])).toBe(all);
  });
});

describe('a search', () => {
  const one = socket('00ff', { nsp: '/chat', data: { user: 'alice', node: 'n1' } });
  it.each(['', ' ', '0f', 'lic', '0.2.', '/ch', 'lob', 'user:alice', 'room:lobby', 'address:192', 'node:n1'])(
    'finds %j',
    (search) => {
      expect(finds(search, one)).toBe(true);
    },
  );
  it.each(['bob', 'user:ali', 'room:lob', 'room:00ff', 'address:193', 'node:n', 'user:lobby'])(
    'does not find %j',
    (search) => {
      expect(finds(search, { ...one, rooms: ['lobby'] })).toBe(false);
    },
  );
});
