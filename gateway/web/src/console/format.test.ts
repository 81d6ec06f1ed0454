// Figures, sizes and times as people read them.

import { describe, expect, it } from 'vitest';
import { ago, bytes, count, duration, moment, perSecond, percent, several } from './format';

describe('figures', () => {
  it('groups digits and knows what it does not know', () => {
    expect(count(1_234_567)).toBe('1,234,567');
    expect(count(undefined)).toBe('–');
    expect(count(Number.NaN)).toBe('–');
  });

  it('shows tenths of a rate only where they matter', () => {
    expect(perSecond(0.25)).toBe('0.3/s');
    expect(perSecond(9.96)).toBe('10/s');
    expect(perSecond(1_234.5)).toBe('1,235/s');
  });

  it('takes the largest unit of a size that has a whole one', () => {
    expect(bytes(0)).toBe('0 B');
    expect(bytes(1023)).toBe('1,023 B');
    expect(bytes(1536)).toBe('1.5 KiB');
    expect(bytes(3 * 1024 ** 3)).toBe('3 GiB');
    expect(bytes(5000 * 1024 ** 4)).toBe('5,000 TiB');
  });

  it('has parts of one as percent', () => {
    expect(percent(0.1234)).toBe('12.3 %');
  });

  it('says one of one and many of others', () => {
    expect([0, 1, 2].map((howMany) => several(howMany, 'session'))).toEqual(['0 sessions', '1 session', '2 sessions']);
    expect(several(2, 'has', 'have')).toBe('2 have');
  });
});

describe('times', () => {
  it('has two units at most', () => {
    const written = [0, 0.00025, 0.0123, 1.25, 59.9, 60, 3_599, 90_061, 86_400 * 12 + 5].map((seconds) =>
      duration(seconds),
    );
    expect(written).toEqual([
      '0 s',
      '250 µs',
      '12.3 ms',
      '1.3 s',
      '59.9 s',
      '1 min',
      '59 min 59 s',
      '1 d 1 h',
      '12 d 5 s',
    ]);
  });

  it('leaves the day out where it is today', () => {
    const now = new Date(2026, 10, 27, 15, 0, 0);
    expect(moment(new Date(2026, 10, 27, 9, 5, 7).getTime(), now)).toBe('09:05:07');
    expect(moment(new Date(2026, 10, 26, 9, 5, 7).getTime(), now)).toBe('2026-11-26 09:05:07');
    expect(moment('never', now)).toBe('never');
  });

  it('counts from now', () => {
    expect(ago(10_000, 10_500)).toBe('now');
    expect(ago('1970-01-01T00:00:10.000Z', 85_900)).toBe('1 min 15 s ago');
  });
});
