// What is brought about for which alert, and how it is mended.
//
// A case has `alert` and `begin`, which returns how it ends. Where they are needed: `shows`, by what a command begins with, what its output
// is to have in it (others are to print something); `fills`, what stands for the names in capitals; `at`, which node the alert names;
// `look`, further steps while it fires; `act`, the commands of *Do* by which it is mended.

import { connections } from './connections.mjs';
import { delivery } from './delivery.mjs';
import { nodes } from './nodes.mjs';
import { redis } from './redis.mjs';
import { services } from './services.mjs';

export const cases = [...nodes, ...connections, ...delivery, ...redis, ...services];
