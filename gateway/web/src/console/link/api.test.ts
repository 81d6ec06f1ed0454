// Requests, and what answers mean.

import { afterEach, describe, expect, it, vi } from 'vitest';
import { Failed, apiOf, explain, failed, ours, theirs } from './api';

afterEach(() => {
  vi.unstubAllGlobals();
});

const answering = (response: () => Response) => {
  const fetched = vi.fn<typeof fetch>(() => Promise.resolve(response()));
  vi.stubGlobal('fetch', fetched);
  return fetched;
};

describe('paths', () => {
  it('escape whatever a name has in it', () => {
    expect(ours(['rooms', 'a/b?c'], { namespace: '/chat', after: undefined, search: '' })).toBe(
      '/console/api/rooms/a%2Fb%3Fc?namespace=%2Fchat',
    );
    expect(theirs(['jobs', '50%'], { limit: 5 })).toBe('/console/api/v1/jobs/50%25?limit=5');
  });
});

describe('requests', () => {
  it('have the credential in a header and nowhere else', async () => {
    const fetched = answering(() => new Response('{"ok":true}'));
    await apiOf(() => 'secret', vi.fn()).send('POST', ours(['routes', 'try']), { event: 'x' });
    const [at, init] = fetched.mock.calls[0] ?? [];
    expect(at).toBe('/console/api/routes/try');
    expect(init?.headers).toEqual({ authorization: 'Bearer secret', 'content-type': 'application/json' });
    expect(init?.body).toBe('{"event":"x"}');
  });

  it('that are answered with nothing give nothing', async () => {
    answering(() => new Response(null, { status: 204 }));
    expect(await apiOf(() => 'x', vi.fn()).send('DELETE', '/')).toBeUndefined();
  });

  it('tell when the credential is known no more, and only then', async () => {
    const refused = vi.fn();
    answering(() => new Response('{"error":"no"}', { status: 403 }));
    await expect(apiOf(() => 'x', refused).get('/')).rejects.toThrow('no');
    expect(refused).not.toHaveBeenCalled();
    answering(() => new Response('{"error":"who"}', { status: 401 }));
    await expect(apiOf(() => 'x', refused).get('/')).rejects.toThrow('who');
    expect(refused).toHaveBeenCalledOnce();
  });
});

describe('failures', () => {
  it('are told in the words of the node', () => {
    expect(failed(409, '', '{"error":"there is no other node"}', null).message).toBe('there is no other node');
    expect(
      failed(404, '', '{"title":"Not found","detail":"there is no queue \\"x\\"","code":"no_queue"}', null).message,
    ).toBe('there is no queue "x"');
    expect(failed(502, 'Bad Gateway', '<html>', null).message).toBe('the node answers 502 Bad Gateway');
  });

  it('say when to come again', () => {
    expect(explain(failed(429, '', '{"error":"too many"}', '3'))).toBe('Not done: too many. Try again in 3 s.');
    expect(explain(new Failed(400, 'bad.', undefined))).toBe('Not done: bad.');
    expect(explain(new TypeError('Failed to fetch'))).toBe('Not done: the node cannot be reached.');
  });
});
