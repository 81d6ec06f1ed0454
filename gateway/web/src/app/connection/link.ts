// The state of the connection as it follows from what happens to it.

import type { Refusal } from './refusal';

/** How a session began. */
export type Beginning =
  | { how: 'new' }
  /** `missed` is not known before all of it is here. */
  | { how: 'recovered'; missed: number | null; awayMs: number }
  | { how: 'lost'; reason: string; awayMs: number };

export type Link =
  | { state: 'connecting'; attempt: number }
  | { state: 'connected'; beginning: Beginning }
  | { state: 'away'; since: number; cut: boolean; retryAt: number | null; refusal: Refusal | null }
  /** It does not come back by itself. */
  | { state: 'ended'; refusal: Refusal | null };

export type LinkEvent =
  | { type: 'trying' }
  | { type: 'began'; recovered: boolean; reason: string | null; now: number }
  | { type: 'caughtUp'; missed: number }
  | { type: 'lostConnection'; now: number; cut: boolean; refusal: Refusal | null }
  | { type: 'failed'; now: number; refusal: Refusal | null; retryAt: number }
  | { type: 'waits'; retryAt: number }
  | { type: 'ended'; refusal: Refusal | null };

/** What a session needs to be told from where it was away. */
export interface LinkState {
  link: Link;
  attempts: number;
  /** When the connection was lost that is not back yet. */
  lostAt: number | null;
  hadSession: boolean;
}

export const FIRST: LinkState = { link: { state: 'connecting', attempt: 0 }, attempts: 0, lostAt: null, hadSession: false };

export function follow(before: LinkState, event: LinkEvent): LinkState {
  switch (event.type) {
    case 'trying': {
      const attempts = before.attempts + 1;
      // Who is away stays away until a session has begun: the words must not flicker with each attempt.
      const link: Link = before.link.state === 'away' ? { ...before.link, retryAt: null } : { state: 'connecting', attempt: attempts };
      return { ...before, attempts, link };
    }
    case 'began': {
      const awayMs = before.lostAt === null ? 0 : event.now - before.lostAt;
      const beginning = beganAs(event, before.hadSession, awayMs);
      return { link: { state: 'connected', beginning }, attempts: 0, lostAt: null, hadSession: true };
    }
    case 'caughtUp': {
      if (before.link.state !== 'connected' || before.link.beginning.how !== 'recovered') return before;
      return { ...before, link: { state: 'connected', beginning: { ...before.link.beginning, missed: event.missed } } };
    }
    case 'lostConnection': {
      const { now, cut, refusal } = event;
      const lostAt = before.lostAt ?? now;
      return { ...before, lostAt, link: { state: 'away', since: lostAt, cut, retryAt: null, refusal } };
    }
    case 'failed': {
      const lostAt = before.lostAt ?? event.now;
      const cut = before.link.state === 'away' && before.link.cut;
      const { refusal, retryAt } = event;
      return { ...before, lostAt, link: { state: 'away', since: lostAt, cut, retryAt, refusal } };
    }
    case 'waits':
      return before.link.state === 'away' ? { ...before, link: { ...before.link, retryAt: event.retryAt } } : before;
    case 'ended':
      return { ...before, link: { state: 'ended', refusal: event.refusal } };
  }
}

function beganAs(event: { recovered: boolean; reason: string | null }, hadSession: boolean, awayMs: number): Beginning {
  if (event.recovered) return { how: 'recovered', missed: null, awayMs };
  if (!hadSession && event.reason === null) return { how: 'new' };
  return { how: 'lost', reason: event.reason ?? 'unknown', awayMs };
}
