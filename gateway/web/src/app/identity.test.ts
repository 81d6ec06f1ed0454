// Names and tokens as the page reads them.

import { expect, test } from 'vitest';

import { named, nameOf, suggestion, withToken } from './identity';

test('two who choose one name are two users, and people read the same name', () => {
  const [one, other] = [named('ann'), named('ann')];
  if (one.kind !== 'named' || other.kind !== 'named') throw new Error('not named');
  expect(one.user).not.toBe(other.user);
  expect([one, other].map(({ user }) => nameOf(user))).toEqual(['ann', 'ann']);
  expect(nameOf('bob')).toBe('bob');
  expect(nameOf(null)).toBe('somebody');
});

test('the user of a token is its subject, and what is no token has none', () => {
  const part = (value: object) => btoa(String.fromCharCode(...new TextEncoder().encode(JSON.stringify(value)))).replaceAll('=', '');
  const token = `${part({ alg: 'HS256' })}.${part({ sub: 'zoë', exp: 1 })}.signature`;
  expect(withToken(token)).toEqual({ kind: 'token', token, user: 'zoë' });
  for (const none of ['', 'hello', 'a.b.c', `a.${part({ exp: 1 })}.c`, `a.${btoa('null')}.c`]) expect(withToken(none)).toBeNull();
});

test('a suggested name is one', () => {
  expect(suggestion(() => 0)).toBe('heron-10');
  expect(suggestion(() => 0.999)).toBe('curlew-99');
});
