// A word that is left is left once, however often it takes.

import { afterEach, expect, test, vi } from 'vitest';

import type { Identity } from '../identity';
import { tellThem } from './leaving_word';

const ANN: Identity = { kind: 'token', token: 'a.b.c', user: 'ann' };
const SAID = { text: 'dinner?', image: null };

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** What is sent where these are the answers, one after the other; `null` is none. */
async function sentTo(answers: (Response | null)[]): Promise<Headers[]> {
  vi.useFakeTimers();
  const sent: Headers[] = [];
  vi.stubGlobal('fetch', (_: string, { headers }: { headers: Headers }) => {
    sent.push(headers);
    const answer = answers[Math.min(sent.length, answers.length) - 1];
    return answer ? Promise.resolve(answer) : Promise.reject(new TypeError('no network'));
  });
  const told = tellThem(ANN, 'bob', SAID, 'm-1');
  await vi.runAllTimersAsync();
  await told;
  return sent;
}

const answer = (status: number, headers = {}) => new Response(null, { status, headers });

test('what may be done later is done later, as the same word', async () => {
  const sent = await sentTo([answer(429, { 'retry-after': '3' }), answer(503), null, answer(201)]);
  expect(sent.map((headers) => headers.get('idempotency-key'))).toEqual(['m-1', 'm-1', 'm-1', 'm-1']);
});

test('it is not sooner than the gateway said', async () => {
  vi.useFakeTimers();
  let sent = 0;
  vi.stubGlobal('fetch', () => Promise.resolve(++sent === 1 ? answer(429, { 'retry-after': '7' }) : answer(201)));
  const told = tellThem(ANN, 'bob', SAID, 'm-1');
  await vi.advanceTimersByTimeAsync(6_900);
  expect(sent).toBe(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(sent).toBe(2);
  await told;
});

test('who may not is not asked again, and nobody asks for ever', async () => {
  for (const status of [201, 401, 403, 501]) expect(await sentTo([answer(status)])).toHaveLength(1);
  expect(await sentTo([answer(503)])).toHaveLength(6);
});
