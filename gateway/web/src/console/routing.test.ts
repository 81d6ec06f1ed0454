// Addresses of pages, there and back.

import { afterEach, describe, expect, it, vi } from 'vitest';
import { HOME, address, adjust, read } from './routing';

afterEach(() => vi.unstubAllGlobals());

describe('addresses', () => {
  it('come back as they were given, whatever a room is called', () => {
    for (const of of ['a', 'a/b', '50 % off?', '#1', 'ünter', '..', 'a&b=c']) {
      const by = { namespace: '/chat', search: 'x&y = z' };
      expect(read(address('rooms', of, by))).toEqual({ page: 'rooms', of, by });
    }
  });

  it('leave out what is not said', () => {
    expect(address('sessions', undefined, { search: '', node: undefined })).toBe('#/sessions');
    expect(read('#/sessions/')).toEqual({ page: 'sessions', of: undefined, by: {} });
  });

  it('that mean nothing are the first page', () => {
    for (const hash of ['', '#', '#/', '#/nothing/here', '#cluster2']) expect(read(hash)).toEqual(HOME);
  });

  it('keep what is looked for in a page, and get nothing that was typed in another one', () => {
    const location = { hash: '#/sessions?node=n1' };
    vi.stubGlobal('location', location);
    vi.stubGlobal('history', { replaceState: (_: unknown, __: string, to: string) => (location.hash = to) });
    adjust({ page: 'sessions', of: undefined }, { search: 'x' });
    expect(location.hash).toBe('#/sessions?node=n1&search=x');
    for (const hash of ['#/rooms', '#/sessions/s1']) {
      location.hash = hash;
      adjust({ page: 'sessions', of: undefined }, { search: 'xy' });
      expect(location.hash).toBe(hash);
    }
  });

  it('with broken escapes are taken as they are', () => {
    expect(read('#/rooms/50%').of).toBe('50%');
  });
});
