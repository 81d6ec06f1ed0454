// All talks of the page and what changes them.

import { compareOffsets, type Offset } from '../../shared/offsets';
import type { Refusal } from '../connection/refusal';
import { type Entry, merged, type Message, unreadIn, without } from './entries';
import type { Said } from './said';

/** Said here, and not acknowledged yet. */
export interface Pending {
  id: string;
  said: Said;
  refusal: Refusal | null;
}

export interface Member {
  member: string;
  user: string | null;
}

export interface Talk {
  key: string;
  kind: 'room' | 'direct';
  /** The room, or the user. */
  name: string;
  standing: 'outside' | 'inside' | Refusal;
  entries: readonly Entry[];
  older: 'unknown' | 'some' | 'loading' | 'none';
  /** Up to where this client has everything: for joining again. */
  upTo: Offset | null;
  readUpTo: Offset | null;
  unread: number;
  pending: readonly Pending[];
  members: readonly Member[];
  count: number;
  typing: readonly string[];
}

export interface State {
  /** Who is speaking here; without one, what was acknowledged is known by its offset. */
  me: string | null;
  own: ReadonlySet<Offset>;
  talks: Readonly<Record<string, Talk>>;
  active: string | null;
  /** Whether somebody looks at the active one. */
  watched: boolean;
}

export type Action =
  | { type: 'opened'; kind: Talk['kind']; name: string; readUpTo?: Offset | null }
  | { type: 'closed'; key: string }
  | { type: 'activated'; key: string }
  | { type: 'watched'; watched: boolean }
  | { type: 'joined'; key: string; upTo: Offset }
  | { type: 'kept'; keys: readonly string[] }
  | { type: 'refused'; key: string; refusal: Refusal }
  | { type: 'left' }
  | { type: 'came'; key: string; entries: readonly Entry[] }
  | { type: 'history'; key: string; entries: readonly Entry[]; more: boolean }
  | { type: 'loading'; key: string; on: boolean }
  | { type: 'deleted'; key: string; offset: Offset }
  | { type: 'sending'; key: string; pending: Pending }
  | { type: 'sent'; key: string; id: string; offset: Offset; copy: Message | null }
  | { type: 'unsent'; key: string; id: string; refusal: Refusal | null }
  | { type: 'members'; key: string; members: readonly Member[]; count: number }
  | { type: 'typing'; key: string; user: string; on: boolean };

export const keyOf = (kind: Talk['kind'], name: string): string => `${kind}:${name}`;

export const begin = (me: string | null): State => ({ me, own: new Set(), talks: {}, active: null, watched: true });

export function isMine(state: State, message: Message): boolean {
  return state.me === null ? state.own.has(message.offset) : message.user === state.me;
}

function opened(kind: Talk['kind'], name: string, readUpTo: Offset | null): Talk {
  const isDirect = kind === 'direct';
  return {
    key: keyOf(kind, name), kind, name, readUpTo,
    standing: isDirect ? 'inside' : 'outside', older: isDirect ? 'none' : 'unknown',
    entries: [], upTo: null, unread: 0, pending: [], members: [], count: 0, typing: [],
  };
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case 'opened': {
      const key = keyOf(action.kind, action.name);
      if (state.talks[key]) return state;
      return { ...state, talks: { ...state.talks, [key]: opened(action.kind, action.name, action.readUpTo ?? null) } };
    }
    case 'closed': {
      const talks = Object.fromEntries(Object.entries(state.talks).filter(([key]) => key !== action.key));
      const active = state.active === action.key ? (Object.keys(talks)[0] ?? null) : state.active;
      return look({ ...state, talks, active });
    }
    case 'activated':
      return look({ ...state, active: action.key });
    case 'watched':
      return look({ ...state, watched: action.watched });
    case 'left': {
      const outside = (talk: Talk): Talk => (talk.kind === 'room' ? { ...talk, standing: 'outside', typing: [] } : talk);
      return { ...state, talks: mapped(state.talks, outside) };
    }
    case 'kept': {
      const inside = (talk: Talk): Talk => (action.keys.includes(talk.key) ? { ...talk, standing: 'inside' } : talk);
      return { ...state, talks: mapped(state.talks, inside) };
    }
    case 'joined':
      return change(state, action.key, (talk) => {
        // What was said before somebody came for the first time is nothing that it missed.
        const readUpTo = talk.readUpTo ?? action.upTo;
        return { ...talk, standing: 'inside', upTo: later(talk.upTo, action.upTo), readUpTo };
      });
    case 'refused':
      return change(state, action.key, (talk) => ({ ...talk, standing: action.refusal }));
    case 'came':
      return look(counted(change(state, action.key, (talk) => added(talk, action.entries)), action.key));
    case 'history': {
      const older = action.more ? 'some' : 'none';
      return look(counted(change(state, action.key, (talk) => ({ ...added(talk, action.entries), older })), action.key));
    }
    case 'loading':
      return change(state, action.key, (talk) => ({ ...talk, older: action.on ? 'loading' : 'some' }));
    case 'deleted':
      return counted(change(state, action.key, (talk) => ({ ...talk, entries: without(talk.entries, action.offset) })), action.key);
    case 'sending':
      return change(state, action.key, (talk) => ({
        ...talk, pending: [...talk.pending.filter(({ id }) => id !== action.pending.id), action.pending],
      }));
    case 'sent': {
      const own = state.me === null ? new Set(state.own).add(action.offset) : state.own;
      const rest = (talk: Talk): Talk => ({ ...talk, pending: talk.pending.filter(({ id }) => id !== action.id) });
      const sent = change({ ...state, own }, action.key, (talk) => (action.copy ? added(rest(talk), [action.copy]) : rest(talk)));
      return look(counted(sent, action.key));
    }
    case 'unsent':
      return change(state, action.key, (talk) => ({
        ...talk, pending: talk.pending.map((one) => (one.id === action.id ? { ...one, refusal: action.refusal } : one)),
      }));
    case 'members':
      return change(state, action.key, (talk) => ({ ...talk, members: action.members, count: action.count }));
    case 'typing':
      return change(state, action.key, (talk) => {
        const others = talk.typing.filter((user) => user !== action.user);
        return { ...talk, typing: action.on ? [...others, action.user] : others };
      });
  }
}

function added(talk: Talk, entries: readonly Entry[]): Talk {
  const came = entries.filter(({ kind }) => kind === 'message').map(({ offset }) => offset);
  return { ...talk, entries: merged(talk.entries, entries), upTo: came.reduce(later, talk.upTo) };
}

const later = (one: Offset | null, other: Offset): Offset => (one === null || compareOffsets(one, other) < 0 ? other : one);

function change(state: State, key: string, how: (talk: Talk) => Talk): State {
  const talk = state.talks[key];
  return talk ? { ...state, talks: { ...state.talks, [key]: how(talk) } } : state;
}

const mapped = (talks: State['talks'], how: (talk: Talk) => Talk): State['talks'] =>
  Object.fromEntries(Object.entries(talks).map(([key, talk]) => [key, how(talk)]));

function counted(state: State, key: string): State {
  return change(state, key, (talk) => ({ ...talk, unread: unreadIn(talk.entries, talk.readUpTo, (one) => isMine(state, one)) }));
}

/** Who looks at a talk has read it. */
function look(state: State): State {
  const talk = state.active === null ? undefined : state.talks[state.active];
  if (!state.watched || !talk || talk.entries.length === 0) return state;
  const last = talk.entries.at(-1) as Entry;
  return change(state, talk.key, (one) => ({ ...one, unread: 0, readUpTo: later(one.readUpTo, last.offset) }));
}
