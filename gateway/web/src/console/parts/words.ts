// What is said of things that were done, the same on every page.

import type { Done } from '../link/answers';
import { several } from '../format';

/** What came of something that was done to sessions. */
export function doneWith(done: Done, what: string): string {
  const missing = done.missing === 0 ? '' : ` ${several(done.missing, 'node')} did not answer: do it again to be sure.`;
  return `${several(done.sessions, 'session')} ${what}.${missing}`;
}

/** A value as JSON, on one line if it is short. */
export function json(value: unknown, most = 80): string {
  const line = JSON.stringify(value) as string | undefined;
  if (line === undefined) return '';
  return line.length <= most ? line : JSON.stringify(value, null, 2);
}
