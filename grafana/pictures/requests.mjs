// What back ends ask over HTTP in the scene, again and again.

import { setMaxListeners } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

const oneOf = (list) => list[Math.floor(Math.random() * list.length)];

/** Asks until it is stopped. */
export function asker(url, key, tokenOf) {
  const over = new AbortController();
  setMaxListeners(0, over.signal);
  const pause = (milliseconds) => delay(milliseconds, undefined, { signal: over.signal }).catch(() => {});

  async function ask(method, path, body, headers = {}) {
    try {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
        body: body && JSON.stringify(body),
        signal: AbortSignal.any([over.signal, AbortSignal.timeout(5000)]),
      });
      return await response.text();
    } catch {
      // A node that is gone, or Redis: that is what is to be seen.
      return '';
    }
  }

  const ofUser = (user, method, path) =>
    ask(method, `/api/notifications/${user}${path}`, undefined, { authorization: `Bearer ${tokenOf(user)}` });
  const room = () => `chat-${Math.floor(Math.random() * 24)}`;
  const user = () => `user-${Math.floor(Math.random() * 90)}`;
  const api = '/api/v1';
  const wishes = [
    [10, () => ask('POST', `${api}/rooms/${room()}/events`, { event: 'news', data: { text: 'from a back end' } })],
    [4, () => ask('POST', `${api}/users/${user()}/events`, { event: 'news', data: 1 })],
    [3, () => ask('GET', `${api}/rooms/${room()}/events?limit=20`)],
    [2, () => ask('GET', `${api}/rooms/${room()}/members`)],
    [1, () => ask('GET', `${api}/rooms`)],
    [1, () => ask('POST', `${api}/rooms/${room()}/ask`, { event: 'question', data: 1, timeoutMs: 1000 })],
    [3, () => ask('POST', `${api}/users/${user()}/notifications`, { message: 'your order is on its way', ttl: 60 })],
    [1, () => ask('PUT', `${api}/users/${user()}/notifications/read`)],
    [4, () => ask('POST', `${api}/jobs`, { kind: 'http', data: { to: 'billing', body: { invoice: 7 } }, attempts: 4 })],
    [2, () => ask('POST', `${api}/jobs`, { kind: 'publish', data: { room: room(), event: 'remind', data: 1 }, delayMs: 5000 })],
    [2, () => ask('POST', `${api}/jobs`, { queue: 'mail', kind: 'mail', data: { to: `${user()}@example.test`, subject: 'Hello', text: 'How are you?' } })],
    [1, () => ask('POST', `${api}/rooms/${room()}/events`, { event: 'news', data: 2 }, { 'idempotency-key': oneOf(['"one"', '"two"', '"three"']) })],
    [1, () => ask('POST', `${api}/rooms/${room()}/events`, { nothing: 'of ours' })],
    [0.4, () => ask('GET', `${api}/rooms`, undefined, { authorization: 'Bearer gw_0123456789abcdef_wrong' })],
    [0.3, () => ask('POST', `${api}/revocations`, { user: `nobody-${Math.floor(Math.random() * 1000)}` })],
    [0.5, () => ask('POST', '/jobs/send-email', { email: `${user()}@example.test`, subject: 'Hello', message: 'From a page' })],
    [1, () => ofUser(user(), 'GET', '')],
    [0.5, () => ofUser(user(), 'PUT', '/read')],
  ];
  const all = wishes.reduce((sum, [often]) => sum + often, 0);

  async function go() {
    while (!over.signal.aborted) {
      let left = Math.random() * all;
      const wish = wishes.find(([often]) => (left -= often) < 0) ?? wishes[0];
      await Promise.all([wish[1](), pause(40 + Math.random() * 120)]);
    }
  }

  async function listen() {
    while (!over.signal.aborted) {
      try {
        const headers = { authorization: `Bearer ${key}` };
        const response = await fetch(`${url}${api}/rooms/chat-1/stream`, { headers, signal: over.signal });
        for await (const _ of response.body);
      } catch {
        // Its node is gone: another one has the room as well.
      }
      await pause(1000);
    }
  }

  const running = [go(), go(), listen()];
  return {
    ask,
    async stop() {
      over.abort();
      await Promise.all(running);
    },
  };
}
