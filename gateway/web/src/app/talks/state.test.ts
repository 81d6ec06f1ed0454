// What is shown of talks, whatever order things come in.

import { expect, test } from 'vitest';

import { type Entry, type Gap, KEPT, merged, type Message } from './entries';
import { read } from './said';
import { type Action, begin, reduce, type State } from './state';

const said = (offset: number, user: string | null = 'bob'): Message => ({
  kind: 'message', offset: String(offset), user, at: offset, event: null, said: { text: `number ${offset}`, image: null },
});
const gap = (offset: number): Gap => ({ kind: 'gap', offset: String(offset), reason: 'history' });
const offsets = (entries: readonly Entry[]) => entries.map(({ kind, offset }) => (kind === 'gap' ? `gap after ${offset}` : Number(offset)));
const play = (state: State, ...actions: Action[]): State => actions.reduce(reduce, state);
const came = (...entries: Entry[]): Action => ({ type: 'came', key: 'room:tea', entries });
const room = (name: string): Action => ({ type: 'opened', kind: 'room', name });

test('messages are shown once and in order, wherever they come from', () => {
  let entries = merged([], [said(10), said(11)]);
  entries = merged(entries, [said(12)]);
  entries = merged(entries, [said(9), said(10), said(2)]);
  entries = merged(entries, [said(12), said(100)]);
  expect(offsets(entries)).toEqual([2, 9, 10, 11, 12, 100]);
  expect(merged(entries, [])).toBe(entries);
});

test('a gap stands where messages may be missing, and what is found later fills in around it', () => {
  let entries = merged([said(1), said(2)], [gap(2)]);
  entries = merged(entries, [said(5)]);
  entries = merged(entries, [said(2), gap(2), said(4)]);
  expect(offsets(entries)).toEqual([1, 2, 'gap after 2', 4, 5]);
});

test('a talk holds so many messages, the newest', () => {
  const many = Array.from({ length: KEPT }, (_, index) => said(1_000_000 + index));
  const entries = merged(many, [said(5_000_000), said(5_000_001)]);
  expect(entries.length).toBe(KEPT);
  expect(entries.at(-1)?.offset).toBe('5000001');
});

test('unread is what others said after what was read, in rooms that nobody looks at', () => {
  let state = play(begin('ann'), room('tea'), room('coffee'), { type: 'activated', key: 'room:coffee' });
  state = play(state, { type: 'joined', key: 'room:tea', upTo: '10' });
  state = play(state, came(said(9), said(11), said(12, 'ann'), said(13)));
  expect(state.talks['room:tea']?.unread).toBe(2);
  state = play(state, { type: 'activated', key: 'room:tea' });
  expect(state.talks['room:tea']).toMatchObject({ unread: 0, readUpTo: '13' });
  state = play(state, came(said(14)));
  expect(state.talks['room:tea']?.unread).toBe(0);
  // The tab is in the background.
  state = play(state, { type: 'watched', watched: false }, came(said(15)), came(said(16)));
  expect(state.talks['room:tea']?.unread).toBe(2);
  state = play(state, { type: 'watched', watched: true });
  expect(state.talks['room:tea']?.unread).toBe(0);
});

test('an unread message that is taken back is unread no more', () => {
  let state = play(begin('ann'), room('tea'), { type: 'joined', key: 'room:tea', upTo: '10' }, came(said(11), said(12)));
  state = play(state, { type: 'deleted', key: 'room:tea', offset: '11' });
  expect(state.talks['room:tea']?.unread).toBe(1);
  expect(offsets(state.talks['room:tea']?.entries ?? [])).toEqual([12]);
});

test('who comes back asks for what came after the last it has', () => {
  let state = play(begin('ann'), room('tea'), { type: 'joined', key: 'room:tea', upTo: '10' });
  expect(state.talks['room:tea']?.upTo).toBe('10');
  state = play(state, came(said(12)), { type: 'history', key: 'room:tea', entries: [said(3)], more: true }, { type: 'left' });
  expect(state.talks['room:tea']).toMatchObject({ upTo: '12', standing: 'outside', older: 'some' });
});

test('what was sent waits for its acknowledgement, and without a user it is known by its offset', () => {
  const pending = { id: 'a', said: { text: 'hi', image: null }, refusal: null };
  const refusal = { code: 'rate_limited', message: '', retryAfterMs: 100 };
  let state = play(begin(null), room('tea'), room('other'), { type: 'activated', key: 'room:other' });
  state = play(state, { type: 'joined', key: 'room:tea', upTo: '1' }, { type: 'sending', key: 'room:tea', pending });
  state = play(state, { type: 'unsent', key: 'room:tea', id: 'a', refusal });
  expect(state.talks['room:tea']?.pending).toEqual([{ ...pending, refusal }]);
  // It is heard before it is acknowledged.
  state = play(state, { type: 'sending', key: 'room:tea', pending }, came(said(5, null)));
  expect(state.talks['room:tea']?.unread).toBe(1);
  state = play(state, { type: 'sent', key: 'room:tea', id: 'a', offset: '5', copy: null });
  expect(state.talks['room:tea']).toMatchObject({ pending: [], unread: 0 });
});

test('a private message is not heard by who sent it, and shown all the same', () => {
  const state = play(begin('ann'), { type: 'opened', kind: 'direct', name: 'bob' },
    { type: 'sent', key: 'direct:bob', id: 'a', offset: '7', copy: said(7, 'ann') });
  expect(offsets(state.talks['direct:bob']?.entries ?? [])).toEqual([7]);
});

test('who types is known until it ends', () => {
  const typing = (user: string, on: boolean): Action => ({ type: 'typing', key: 'room:tea', user, on });
  const state = play(begin('ann'), room('tea'), typing('bob', true), typing('eve', true), typing('bob', true), typing('eve', false));
  expect(state.talks['room:tea']?.typing).toEqual(['bob']);
});

test('data of any form can be shown, and only raster images as such', () => {
  const bytes = new ArrayBuffer(4);
  expect(read('hello')).toEqual({ text: 'hello', image: null });
  expect(read({ number: 7 }).text).toBe('{"number":7}');
  expect(read(null).text).toBe('');
  expect(read({ image: { bytes, type: 'image/png', width: 4, height: 3 } }).image).toMatchObject({ width: 4 });
  for (const wrong of [{ type: 'image/svg+xml' }, { width: 0 }, { bytes: 'text' }, { height: 1e9 }]) {
    expect(read({ text: 'x', image: { bytes, type: 'image/png', width: 4, height: 3, ...wrong } }).image).toBeNull();
  }
});
