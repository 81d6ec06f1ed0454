// The state of the connection in words.

import type { Beginning, Link } from './link';
import type { Refusal } from './refusal';

export interface Words {
  tone: 'good' | 'wait' | 'bad';
  /** One or two words, always there. */
  state: string;
  /** What happened, and what will. */
  more: string;
}

export function inWords(link: Link, now: number): Words {
  switch (link.state) {
    case 'connecting':
      return { tone: 'wait', state: 'Connecting', more: '' };
    case 'connected':
      return { tone: link.beginning.how === 'lost' ? 'wait' : 'good', state: 'Connected', more: began(link.beginning) };
    case 'away': {
      const retry = link.retryAt === null ? '' : tryAgain(link.retryAt - now);
      if (link.refusal) return { tone: 'bad', state: 'Refused', more: sentences(because(link.refusal), retry) };
      const why = link.cut ? 'You cut the connection' : 'The connection is lost';
      return { tone: 'wait', state: 'Away', more: sentences(`${why}; what is said meanwhile will come`, retry) };
    }
    case 'ended':
      if (!link.refusal) {
        return { tone: 'bad', state: 'Ended', more: 'An operator ended this session. It does not come back by itself.' };
      }
      return { tone: 'bad', state: 'Refused', more: sentences(because(link.refusal), 'It is not tried again') };
  }
}

function began(beginning: Beginning): string {
  switch (beginning.how) {
    case 'new':
      return '';
    case 'recovered': {
      const gone = `You were away for ${duration(beginning.awayMs)}`;
      const { missed } = beginning;
      if (missed === null) return `Recovered: ${gone.toLowerCase()}.`;
      if (missed === 0) return 'Recovered: nothing was said while you were gone.';
      const came = missed === 1 ? '1 message came' : `${missed} messages came`;
      return `Recovered: ${came} after you were gone. ${gone}.`;
    }
    case 'lost':
      return `The session could not be recovered: ${whyLost(beginning.reason)}. Rooms were joined again.`;
  }
}

const LOST: Record<string, string> = {
  unknown: 'it is not known any more',
  offset: 'where it was cannot be told',
  history: 'the log lost some of its history',
  retention: 'the log does not reach back that far any more',
  interrupted: 'the connection broke while it was caught up',
  not_allowed: 'it may not be in one of its rooms any more',
  too_much: 'it missed more than can be sent again',
  unreadable: 'a newer version of the gateway wrote what it missed',
  replaced: 'another connection took it over',
  archive: 'the archive does not have everything',
};

export function whyLost(reason: string): string {
  return LOST[reason] ?? reason;
}

/** What stands where messages are missing. */
export function gapWords(reason: string): string {
  const why: Record<string, string> = { history: 'the log lost them', retention: 'the log does not reach back that far', archive: 'the archive does not have them' };
  return `Messages may be missing here: ${why[reason] ?? whyLost(reason)}.`;
}

const REFUSED: Record<string, string> = {
  token_required: 'This gateway lets in who brings a token',
  unauthorized: 'The token is not valid here',
  token_expired: 'The token has expired',
  token_revoked: 'The token was taken back',
  rate_limited: 'Too much came from here',
  capacity: 'The node is full',
  busy: 'Too many come at once',
  draining: 'The node is leaving',
  elsewhere: 'Another node has more room',
  too_many_sessions: 'You have too many sessions',
  too_many_connections: 'Too many connections come from here',
  forbidden_origin: 'Pages of this address may not connect',
  taken: 'Somebody else has this name',
  not_allowed: 'That is not allowed here',
  unavailable: 'The gateway cannot reach what it needs',
  overloaded: 'Too much waits already',
  too_large: 'That is too large',
  log_full: 'The gateway keeps as much as it may',
  too_much_kept: 'As much of yours is kept as may be',
  room_full: 'The room is full',
  no_database: 'This gateway keeps nothing for later: it has no database',
};

/** Why, for people; the gateway's own words where there are no better ones. */
export function because({ code, message }: Refusal): string {
  return REFUSED[code] ?? (message || `It was refused (${code})`);
}

function tryAgain(ms: number): string {
  return ms < 1_000 ? 'Trying again now' : `Trying again in ${duration(ms)}`;
}

export function duration(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1_000));
  if (seconds < 60) return seconds === 1 ? '1 second' : `${seconds} seconds`;
  const minutes = Math.round(seconds / 60);
  return minutes === 1 ? '1 minute' : `${minutes} minutes`;
}

function sentences(...parts: string[]): string {
  return parts.filter((part) => part !== '').map((part) => `${part}.`).join(' ');
}
