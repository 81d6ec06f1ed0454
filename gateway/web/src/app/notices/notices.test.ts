// One list of notifications on all devices of a user.

import { expect, test, vi } from 'vitest';

import type { Connection, Session } from '../connection/connection';
import { after, NONE, Notices, type Notice, type NoticeEvent } from './notices';

const notice = (id: string, more: Partial<Notice> = {}): Notice => ({ id, message: id, isRead: false, timestamp: '2026-11-29T08:30:09.000Z', ...more });
const play = (...events: NoticeEvent[]) => events.reduce(after, NONE);
const LISTED: NoticeEvent = { type: 'listed', notices: [notice('c'), notice('b'), notice('a')], unread: 3, more: false };

test('what is told is on top and counted once, however often it is heard', () => {
  const told: NoticeEvent = { type: 'told', notice: notice('d') };
  const state = play(LISTED, told, told);
  expect(state.notices.map(({ id }) => id)).toEqual(['d', 'c', 'b', 'a']);
  expect(state.unread).toBe(4);
});

test('one that takes the place of an unread one adds nothing to the count', () => {
  const state = play(LISTED, { type: 'told', notice: notice('d', { replaces: 'b' }) });
  expect(state.notices.map(({ id }) => id)).toEqual(['d', 'c', 'a']);
  expect(state.unread).toBe(3);
});

test('what another device reads is read here, one or all that are older', () => {
  const readOnes = (...events: NoticeEvent[]) => play(...events).notices.filter(({ isRead }) => isRead).map(({ id }) => id);
  expect(readOnes(LISTED, { type: 'read', id: 'b', unread: 2 })).toEqual(['b']);
  expect(readOnes(LISTED, { type: 'read', upTo: 'b', unread: 1 })).toEqual(['b', 'a']);
  expect(play(LISTED, { type: 'read', id: 'b', unread: 2 }).unread).toBe(2);
});

test('what is older comes once, and behind what it was asked for', () => {
  const older: NoticeEvent = { type: 'older', before: 'a', notices: [notice('Z'), notice('Y')], more: false };
  expect(play(LISTED, older, older).notices.map(({ id }) => id)).toEqual(['c', 'b', 'a', 'Z', 'Y']);
  const anew: NoticeEvent = { type: 'listed', notices: [notice('e'), notice('d')], unread: 5, more: true };
  expect(play(LISTED, anew, older)).toMatchObject({ notices: [{ id: 'e' }, { id: 'd' }], more: true });
});

test('what is taken out is gone, one or all', () => {
  expect(play(LISTED, { type: 'deleted', id: 'b', unread: 2 }).notices.map(({ id }) => id)).toEqual(['c', 'a']);
  expect(play(LISTED, { type: 'deleted', unread: 0 })).toMatchObject({ notices: [], unread: 0 });
});

test('where nothing is kept for anybody, that is known', () => {
  const refusal = { code: 'no_database', message: '', retryAfterMs: null };
  expect(play(LISTED, { type: 'refused', refusal })).toMatchObject({ notices: [], refusal });
});

test('what is heard while a list is on its way is not lost behind it', async () => {
  const answers: ((page: object) => void)[] = [];
  let hear: (event: string, what: unknown) => void = () => undefined;
  const session: Session = { number: 1, recovered: false, rooms: [] };
  const connection = {
    identity: { kind: 'named', name: 'ann', user: 'ann' },
    socket: { onAny: (heard: typeof hear) => (hear = heard), offAny: () => undefined },
    watch: () => () => undefined,
    seen: () => ({ session }),
    insist: () => new Promise((answer) => answers.push(answer)),
  };
  const notices = new Notices(connection as unknown as Connection);
  notices.start();
  hear('receiveNotification', notice('d'));
  expect(notices.state().unread).toBe(1);
  // The list was read before that.
  answers[0]?.({ notifications: [], unread: 0, more: false });
  await vi.waitFor(() => expect(answers).toHaveLength(2));
  answers[1]?.({ notifications: [notice('d')], unread: 1, more: false });
  await vi.waitFor(() => expect(notices.state()).toMatchObject({ unread: 1, notices: [notice('d')] }));
  expect(answers).toHaveLength(2);
});
