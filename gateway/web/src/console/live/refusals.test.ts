// Refusals of several nodes, added up.

import { describe, expect, it } from 'vitest';

import type { Refused } from '../link/wire';
import { byCode, KEPT, ranked, tallied, type Tallies } from './refusals';

function refused(event: string, code: string, count: number): Refused {
  return { namespace: '/', event, place: 'gateway.toml:3', action: 'publish', code, count };
}

const told = (node: string, ...refusals: Refused[]) => ({ node, refusals, leftOut: 0 });

describe('refusals', () => {
  it('of one kind are one, whichever nodes tell them', () => {
    let tallies: Tallies = new Map();
    tallies = tallied(tallies, told('b', refused('say', 'rate_limited', 2), refused('say', 'forbidden', 1)), 1);
    tallies = tallied(tallies, told('a', refused('say', 'rate_limited', 3)), 2);
    tallies = tallied(tallies, told('a', refused('say', 'rate_limited', 1)), 3);
    const rows = ranked(tallies).map(({ code, count, nodes, lastAt }) => ({ code, count, nodes, lastAt }));
    expect(rows).toEqual([
      { code: 'rate_limited', count: 6, nodes: ['a', 'b'], lastAt: 3 },
      { code: 'forbidden', count: 1, nodes: ['b'], lastAt: 1 },
    ]);
  });

  it('that are none change nothing', () => {
    const tallies: Tallies = new Map();
    expect(tallied(tallies, told('a'), 1)).toBe(tallies);
  });

  it('are added up by code', () => {
    const tallies = tallied(
      new Map(),
      told('a', refused('x', 'b', 1), refused('y', 'b', 2), refused('z', 'a', 3), refused('z', 'c', 9)),
      1,
    );
    expect(byCode(tallies)).toEqual([
      ['c', 9],
      ['a', 3],
      ['b', 3],
    ]);
  });

  it('are bounded: the kind goes that has been quiet longest', () => {
    let tallies = tallied(new Map(), told('a', refused('first', 'x', 1), refused('second', 'x', 1)), 1);
    for (let other = 0; other < KEPT - 2; other += 1)
      tallies = tallied(tallies, told('a', refused(`e${other}`, 'x', 1)), 2);
    tallies = tallied(tallies, told('a', refused('first', 'x', 1)), 3);
    tallies = tallied(tallies, told('a', refused('last', 'x', 1)), 4);
    const events = ranked(tallies).map(({ event }) => event);
    expect(tallies.size).toBe(KEPT);
    expect(events).toContain('first');
    expect(events).toContain('last');
    expect(events).not.toContain('second');
  });
});
