// What the page knows: gathered at once, told seldom.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { SILENT_MS } from './cluster';
import { Live } from './live';
import { stats } from './stats.fixture';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('live', () => {
  it('tells once of many events, and nobody who does not listen any more', () => {
    const live = new Live();
    const tell = vi.fn();
    const stop = live.subscribe(tell);
    for (let node = 0; node < 50; node += 1) live.onStats(stats(`n${node}`), 0);
    expect(live.cluster.size).toBe(50);
    expect(tell).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1_000);
    expect(tell).toHaveBeenCalledOnce();
    stop();
    live.onRefusals({ node: 'n1', refusals: [], leftOut: 0 }, 0);
    vi.advanceTimersByTime(1_000);
    expect(tell).toHaveBeenCalledOnce();
  });

  it('draws a point of all nodes that speak, and none while there are none', () => {
    const live = new Live();
    live.sample(0);
    expect(live.samples.length).toBe(0);
    live.onStats(stats('a', { leftOut: 3 }), 0);
    live.onStats(stats('b', { leftOut: 4 }), 2_000);
    live.sample(2_000);
    live.sample(SILENT_MS);
    expect(live.samples.columns(['received', 'ackP99'])).toEqual([
      [2, SILENT_MS / 1000],
      [200, 100],
      [null, null],
    ]);
    expect(live.leftOut).toBe(7);
  });
});
