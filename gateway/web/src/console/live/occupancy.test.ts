// Members that come and go.

import { describe, expect, it } from 'vitest';

import { stepped, type Step } from './occupancy';

const list = {
  rooms: [
    { room: 'a', namespace: '/', members: 1, nodes: 1 },
    { room: 'a', namespace: '/chat', members: 5, nodes: 2 },
  ],
  next: null,
  missing: 0,
};
const step = (namespace: string, room: string, by: 1 | -1): Step => ({ namespace, room, by });

describe('rooms', () => {
  it('have who comes and goes counted, each in its namespace', () => {
    const now = stepped(list, [step('/', 'a', 1), step('/', 'a', 1), step('/chat', 'a', -1), step('/', 'b', 1)]);
    expect(now.rooms.map((room) => room.members)).toEqual([3, 4]);
  });

  it('never have fewer than nobody', () => {
    expect(stepped(list, [step('/', 'a', -1), step('/', 'a', -1)]).rooms[0]?.members).toBe(0);
  });

  it('stay the same where nothing is different', () => {
    expect(stepped(list, [step('/', 'b', 1), step('/', 'a', 1), step('/', 'a', -1)])).toBe(list);
  });
});
