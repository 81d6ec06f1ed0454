// What a tail told.

import { describe, expect, it } from 'vitest';

import type { TailEvent } from '../link/wire';
import { KEPT, NOTHING, told } from './tailed';

function event(name: string): TailEvent {
  return { tail: 1, room: 'r', namespace: '/', event: name, offset: null, user: null, node: 'n', bytes: 1, at: 1 };
}

describe('a tail', () => {
  it('has the newest first, each with a number of its own', () => {
    const tailed = told(told(NOTHING, [event('a'), event('b')]), [event('c')]);
    expect(tailed.events.map(({ event, number }) => [event, number])).toEqual([
      ['c', 3],
      ['b', 2],
      ['a', 1],
    ]);
    expect(told(tailed, [])).toBe(tailed);
  });

  it('is bounded, and goes on counting', () => {
    let tailed = NOTHING;
    for (let at = 0; at < KEPT + 5; at += 1) tailed = told(tailed, [event(String(at))]);
    expect([tailed.events.length, tailed.told, tailed.events[0]?.number]).toEqual([KEPT, KEPT + 5, KEPT + 5]);
  });
});
