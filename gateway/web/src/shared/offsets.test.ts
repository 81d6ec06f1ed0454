// Offsets are compared by value, however long they are.

import { expect, test } from 'vitest';

import { compareOffsets } from './offsets';

test('offsets have the order of their values, beyond what numbers hold', () => {
  const given = ['9', '10', '9007199254740993', '9007199254740992', '1795345614052000000'];
  const sorted = [...given].sort(compareOffsets);
  expect(sorted).toEqual(['9', '10', '9007199254740992', '9007199254740993', '1795345614052000000']);
  expect(compareOffsets('9007199254740993', '9007199254740993')).toBe(0);
});
