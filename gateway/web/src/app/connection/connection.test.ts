// What the page says about its connection, from what happens to it.

import { expect, test } from 'vitest';

import { FIRST, follow, type LinkEvent, type LinkState } from './link';
import { refusalIn, refusalOf } from './refusal';
import { waitBefore } from './retry';
import { inWords } from './words';

const after = (...events: LinkEvent[]): LinkState => events.reduce(follow, FIRST);
const words = (now: number, ...events: LinkEvent[]) => inWords(after(...events).link, now);

const BEGAN: LinkEvent = { type: 'began', recovered: false, reason: null, now: 0 };
const GONE: LinkEvent = { type: 'lostConnection', now: 10_000, cut: false, refusal: null };

test('a first session is connected and nothing more', () => {
  expect(words(0, { type: 'trying' })).toMatchObject({ tone: 'wait', state: 'Connecting' });
  expect(words(0, { type: 'trying' }, BEGAN)).toEqual({ tone: 'good', state: 'Connected', more: '' });
});

test('who is back is told how many messages came after it was gone, and for how long that was', () => {
  const back: LinkEvent = { type: 'began', recovered: true, reason: null, now: 17_000 };
  const said = (missed: number) => words(0, BEGAN, GONE, { type: 'trying' }, back, { type: 'caughtUp', missed }).more;
  expect(said(12)).toBe('Recovered: 12 messages came after you were gone. You were away for 7 seconds.');
  expect(said(1)).toBe('Recovered: 1 message came after you were gone. You were away for 7 seconds.');
  expect(said(0)).toBe('Recovered: nothing was said while you were gone.');
  expect(words(0, BEGAN, GONE, back).more).toBe('Recovered: you were away for 7 seconds.');
});

test('a session that a reload brings back was away, too', () => {
  const back: LinkEvent = { type: 'began', recovered: true, reason: null, now: 1_000 };
  expect(words(0, { type: 'trying' }, back, { type: 'caughtUp', missed: 3 }).more).toContain('3 messages came');
});

test('who is away is told until the session is back, through all attempts', () => {
  const failed: LinkEvent = { type: 'failed', now: 11_000, refusal: null, retryAt: 14_000 };
  expect(words(11_000, BEGAN, GONE, failed)).toEqual({
    tone: 'wait', state: 'Away', more: 'The connection is lost; what is said meanwhile will come. Trying again in 3 seconds.',
  });
  expect(words(14_000, BEGAN, GONE, failed, { type: 'trying' }).state).toBe('Away');
  const { link } = after(BEGAN, GONE, failed, { type: 'trying' }, failed);
  expect(link).toMatchObject({ since: 10_000 });
});

test('a refusal says why and when it is tried again, and one for good says that it is not', () => {
  const refusal = { code: 'draining', message: '', retryAfterMs: 2_000 };
  expect(words(0, { type: 'failed', now: 0, refusal, retryAt: 2_000 })).toEqual({
    tone: 'bad', state: 'Refused', more: 'The node is leaving. Trying again in 2 seconds.',
  });
  const expired = { code: 'token_expired', message: '', retryAfterMs: null };
  expect(words(0, BEGAN, { type: 'ended', refusal: expired }).more).toBe('The token has expired. It is not tried again.');
  expect(words(0, BEGAN, { type: 'ended', refusal: null }).more).toContain('An operator ended this session');
});

test('a session that is lost says why', () => {
  const fresh: LinkEvent = { type: 'began', recovered: false, reason: 'too_much', now: 20_000 };
  expect(words(0, BEGAN, GONE, fresh)).toMatchObject({ tone: 'wait', more: expect.stringContaining('missed more than can be sent') as string });
});

test('refusals are read wherever they come from', () => {
  expect(refusalIn({ ok: false, error: { code: 'taken', message: 'no', retryAfterMs: 5 } })).toEqual({ code: 'taken', message: 'no', retryAfterMs: 5 });
  expect(refusalIn({ ok: true })).toBeNull();
  expect(refusalOf(new Error('unauthorized: no valid token'))).toMatchObject({ code: 'unauthorized' });
  const http = (status: number, body: string, wait: string | null) =>
    refusalOf(Object.assign(new Error('xhr poll error'), { type: 'TransportError', context: { status, responseText: body, getResponseHeader: () => wait } }));
  expect(http(503, '{"code":"draining","message":"the node is leaving"}', '2')).toEqual({ code: 'draining', message: 'the node is leaving', retryAfterMs: 2_000 });
  expect(http(502, '<html>', null)).toMatchObject({ code: 'HTTP 502', retryAfterMs: null });
  expect(http(0, '', null)).toBeNull();
});

test('attempts get rarer up to a bound, and never come before the gateway says', () => {
  const waits = [1, 2, 3, 4, 5, 9].map((failures) => waitBefore(failures, null, () => 1));
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 5_000, 5_000]);
  expect(waitBefore(1, null, () => 0)).toBe(250);
  expect(waitBefore(1, 7_000, () => 0)).toBe(7_000);
});
