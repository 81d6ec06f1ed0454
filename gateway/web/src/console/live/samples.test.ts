// The last so many figures.

import { describe, expect, it } from 'vitest';
import { Samples } from './samples';

describe('samples', () => {
  it('keep the newest and forget the oldest', () => {
    let samples = Samples.keeping(3);
    for (const at of [1, 2, 3, 4, 5]) samples = samples.with(at, { in: at * 10, out: at === 4 ? undefined : at });
    expect(samples.columns(['in', 'out'])).toEqual([
      [3, 4, 5],
      [30, 40, 50],
      [3, null, 5],
    ]);
    expect(samples.length).toBe(3);
  });

  it('are not changed by a further one', () => {
    const one = Samples.keeping(2).with(1, { in: 1 });
    one.with(2, { in: 2 });
    expect(one.columns(['in'])).toEqual([[1], [1]]);
  });

  it('never go back in time: charts need an order', () => {
    const samples = Samples.keeping(9).with(1, { in: 1 }).with(5, { in: 2 }).with(4, { in: 3 }).with(6, { in: 4 });
    expect(samples.columns(['in'])).toEqual([
      [1, 4, 6],
      [1, 3, 4],
    ]);
  });

  it('say what is newest and most', () => {
    const samples = Samples.keeping(9).with(1, { in: 7 }).with(2, { in: 3 });
    expect([samples.last('in'), samples.most('in'), samples.last('none'), samples.most('none')]).toEqual([
      3,
      7,
      undefined,
      undefined,
    ]);
  });
});
