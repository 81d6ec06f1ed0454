// Addresses of pages, there and back.

import { describe, expect, it } from 'vitest';
import { HOME, address, read } from './routing';

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

  it('with broken escapes are taken as they are', () => {
    expect(read('#/rooms/50%').of).toBe('50%');
  });
});
