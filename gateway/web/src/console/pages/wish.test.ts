// What is typed into "try it".

import { describe, expect, it } from 'vitest';

import { readWish } from './wish';

const WISH = {
  namespace: ' ',
  event: ' say ',
  args: '{"room": "a"}, 7',
  user: '',
  roles: 'admin, , editor ',
  rooms: '',
};

describe('an event to be tried', () => {
  it('is what was typed, without what was not', () => {
    const body = { namespace: '/', event: 'say', args: [{ room: 'a' }, 7], roles: ['admin', 'editor'], rooms: [] };
    expect(readWish(WISH)).toEqual(body);
    expect(readWish({ ...WISH, args: '', user: 'alice' })).toEqual({ ...body, args: [], user: 'alice' });
  });

  it('is told what is wrong with it', () => {
    expect(readWish({ ...WISH, event: '' })).toBe('Say which event.');
    expect(readWish({ ...WISH, args: '{room: 1}' })).toMatch(/^The arguments are not JSON: /);
  });
});
