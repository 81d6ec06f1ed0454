// The talks of a connection: joined, caught up, spoken in; what the gateway says becomes what is shown.

import { type Connection, Refused, type Session } from '../connection/connection';
import { chance } from '../identity';
import type { Offset } from '../../shared/offsets';
import type { Entry, Message } from './entries';
import type { Refusal } from '../connection/refusal';
import { tellThem } from './leaving_word';
import { read, type Said, written } from './said';
import { type Action, begin, keyOf, type Member, type Pending, reduce, type State, type Talk } from './state';

/** An event as rooms hear it. */
interface Heard {
  room: string;
  user: string | null;
  data: unknown;
  at: number;
  offset: Offset;
}

const PAGE = 50;
/** Messages are shown together that come within one picture of the screen. */
const TOGETHER_MS = 16;
/** Who is there may change without a word: somebody's network went. */
const PRESENCE_MS = 10_000;
const LEAST_WAIT_MS = 250;
/** A little more than `presence.linger`. */
const LINGER_MS = 6_000;

const isHeard = (value: unknown): value is Heard =>
  value !== null && typeof value === 'object' && 'room' in value && typeof value.room === 'string' && 'offset' in value && typeof value.offset === 'string';

const messageOf = (event: string, { user, data, at, offset }: Omit<Heard, 'room'>): Message => ({
  kind: 'message', offset, user, at, event: event === 'message' || event === 'direct' ? null : event, said: read(data),
});

export class Talks {
  readonly connection: Connection;
  #state: State;
  #watchers = new Set<() => void>();
  #came = new Map<string, Entry[]>();
  #flush: ReturnType<typeof setTimeout> | undefined;
  #session: Session | null = null;
  #presence: ReturnType<typeof setInterval> | undefined;
  #unwatch: () => void = () => undefined;

  constructor(connection: Connection) {
    this.connection = connection;
    const { identity } = connection;
    this.#state = begin(identity.kind === 'nobody' ? null : identity.user);
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  };

  readonly state = (): State => this.#state;

  start(): void {
    const { socket } = this.connection;
    socket.onAny(this.#hear);
    addEventListener('pagehide', this.#sayGoodbye);
    this.#unwatch = this.connection.watch(this.#follow);
    this.#presence = setInterval(() => this.#whoIsThere(), PRESENCE_MS);
    this.#follow();
  }

  stop(): void {
    this.connection.socket.offAny(this.#hear);
    removeEventListener('pagehide', this.#sayGoodbye);
    this.#unwatch();
    clearInterval(this.#presence);
    clearTimeout(this.#flush);
  }

  open(kind: Talk['kind'], name: string, readUpTo: Offset | null = null): string {
    const key = keyOf(kind, name);
    const isNew = !this.#state.talks[key];
    this.dispatch({ type: 'opened', kind, name, readUpTo });
    if (isNew && kind === 'room' && this.#session) void this.#join(key);
    return key;
  }

  activate(key: string): void {
    this.dispatch({ type: 'activated', key });
  }

  close(key: string): void {
    const talk = this.#state.talks[key];
    this.dispatch({ type: 'closed', key });
    if (talk?.kind !== 'room' || !this.#session) return;
    this.#signal(talk.name, 'gone');
    this.connection.ask('leave', { room: talk.name }).catch(ignored);
  }

  /** Says something, and says it again with the same id until it is known that it was kept, or refused. */
  say(key: string, said: Said): void {
    void this.#send(key, { id: chance() + chance(), said, refusal: null });
  }

  sayAgain(key: string, pending: Pending): void {
    void this.#send(key, { ...pending, refusal: null });
  }

  async older(key: string): Promise<void> {
    const talk = this.#state.talks[key];
    const first = talk?.entries.find(({ kind }) => kind === 'message');
    if (talk?.older !== 'some' || !first || talk.standing !== 'inside') return;
    this.dispatch({ type: 'loading', key, on: true });
    await this.#history(key, talk.name, { before: first.offset, limit: PAGE });
  }

  typing(key: string, on: boolean): void {
    const talk = this.#state.talks[key];
    if (talk?.kind === 'room' && this.#session) this.connection.socket.emit('typing', { room: talk.name, typing: on }, ignored);
  }

  readonly dispatch = (action: Action): void => {
    const after = reduce(this.#state, action);
    if (after === this.#state) return;
    this.#state = after;
    for (const watcher of this.#watchers) watcher();
  };

  /** A session begins or ends. */
  readonly #follow = (): void => {
    const { session } = this.connection.seen();
    if (session === this.#session) return;
    this.#session = session;
    if (!session) return this.dispatch({ type: 'left' });
    for (const room of session.rooms) this.dispatch({ type: 'opened', kind: 'room', name: room });
    const kept = session.rooms.map((room) => keyOf('room', room));
    this.dispatch({ type: 'kept', keys: kept });
    for (const talk of Object.values(this.#state.talks)) {
      if (talk.kind === 'direct') void this.#resend(talk.key);
      else if (kept.includes(talk.key)) void this.#arrived(talk.key);
      else void this.#join(talk.key);
    }
  };

  async #join(key: string): Promise<void> {
    const talk = this.#state.talks[key];
    if (!talk) return;
    try {
      const after = talk.upTo === null ? {} : { after: talk.upTo };
      const ack = await this.connection.ask<{ offset: Offset; recovered?: boolean }>('join', { room: talk.name, ...after });
      this.dispatch({ type: 'joined', key, upTo: ack.offset });
      // What the log still has stands behind the gap that was told.
      if (ack.recovered === false && talk.upTo !== null) await this.#fill(key, talk.name, talk.upTo);
      this.#signal(talk.name, 'here');
      await this.#arrived(key);
    } catch (error) {
      this.#refused(key, error);
    }
  }

  /** It is in the room, with what it missed. */
  async #arrived(key: string): Promise<void> {
    const talk = this.#state.talks[key];
    if (!talk) return;
    void this.#resend(key);
    void this.#members(key);
    if (talk.older === 'unknown') await this.#history(key, talk.name, { limit: PAGE });
  }

  async #fill(key: string, room: string, after: Offset): Promise<void> {
    for (let from = after; ; ) {
      const page = await this.connection.insist<Page>('history', { room, after: from });
      const entries = entriesOf(page);
      this.dispatch({ type: 'came', key, entries });
      const last = entries.at(-1);
      if (!page.more || !last) return;
      from = last.offset;
    }
  }

  async #history(key: string, room: string, which: object): Promise<void> {
    try {
      const page = await this.connection.insist<Page>('history', { room, ...which });
      this.dispatch({ type: 'history', key, entries: entriesOf(page), more: page.more });
    } catch {
      this.dispatch({ type: 'loading', key, on: false });
    }
  }

  async #members(key: string): Promise<void> {
    const talk = this.#state.talks[key];
    if (talk?.standing !== 'inside' || talk.kind !== 'room') return;
    try {
      const { members, count } = await this.connection.ask<{ members: Member[]; count: number }>('presence', { room: talk.name });
      this.dispatch({ type: 'members', key, members, count });
    } catch {
      // Asked again soon.
    }
  }

  #whoIsThere(): void {
    const { active, watched } = this.#state;
    if (watched && active !== null && this.#session) void this.#members(active);
  }

  async #resend(key: string): Promise<void> {
    for (const pending of this.#state.talks[key]?.pending ?? []) {
      if (pending.refusal?.retryAfterMs !== null) await this.#send(key, pending);
    }
  }

  async #send(key: string, pending: Pending): Promise<void> {
    const talk = this.#state.talks[key];
    if (!talk) return;
    this.dispatch({ type: 'sending', key, pending });
    // Sent when it is back.
    if (!this.#session || talk.standing !== 'inside') return;
    const data = written(pending.said);
    const body = { data, id: pending.id };
    try {
      if (talk.kind === 'room') {
        const { offset } = await this.connection.ask<{ offset: Offset }>('publish', { room: talk.name, ...body });
        this.dispatch({ type: 'sent', key, id: pending.id, offset, copy: null });
        return;
      }
      const { offset } = await this.connection.ask<{ offset: Offset }>('direct', { user: talk.name, ...body });
      const copy = messageOf('direct', { user: this.#state.me, data, at: Date.now(), offset });
      this.dispatch({ type: 'sent', key, id: pending.id, offset, copy });
      void tellThem(this.connection.identity, talk.name, pending.said, pending.id);
    } catch (error) {
      if (error instanceof Refused) this.#unsent(key, pending, error.refusal);
      else if (this.connection.seen().session) void this.#send(key, pending);
    }
  }

  /** What may be done later is tried again by itself, as often as it takes. */
  #unsent(key: string, pending: Pending, refusal: Refusal): void {
    this.dispatch({ type: 'unsent', key, id: pending.id, refusal });
    if (refusal.retryAfterMs === null) return;
    setTimeout(() => {
      const waits = this.#state.talks[key]?.pending.some(({ id }) => id === pending.id);
      if (waits && this.#session) void this.#send(key, { ...pending, refusal });
    }, Math.max(refusal.retryAfterMs, LEAST_WAIT_MS));
  }

  #signal(room: string, event: 'here' | 'gone'): void {
    this.connection.socket.emit('signal', { room, event, data: null }, ignored);
  }

  readonly #sayGoodbye = (): void => {
    if (!this.#session) return;
    for (const { kind, name } of Object.values(this.#state.talks)) if (kind === 'room') this.#signal(name, 'gone');
  };

  readonly #hear = (event: string, ...args: unknown[]): void => {
    const [first, offset] = args;
    if (event === 'direct') return this.#heardDirect(first as Omit<Heard, 'room'>);
    if (event === 'gateway:gap') return this.#heardGap(first as { room: string | null; reason: string }, offset);
    if (event === 'gateway:deleted') {
      const { room, offset: gone } = first as { room: string; offset: Offset };
      return this.dispatch({ type: 'deleted', key: keyOf('room', room), offset: gone });
    }
    if (event === 'typing') {
      const { room, user, typing } = first as { room: string; user: string | null; typing: boolean };
      return this.dispatch({ type: 'typing', key: keyOf('room', room), user: user ?? '', on: typing });
    }
    if (event === 'here' || event === 'gone') {
      const key = keyOf('room', (first as Heard).room);
      void this.#members(key);
      // Who is gone counts for a while, and may be back by then.
      if (event === 'gone') setTimeout(() => void this.#members(key), LINGER_MS);
      return;
    }
    if (isHeard(first)) this.#add(keyOf('room', first.room), messageOf(event, first));
  };

  #heardDirect(heard: Omit<Heard, 'room'>): void {
    if (heard.user !== null) this.#add(this.open('direct', heard.user), messageOf('direct', heard));
  }

  #heardGap({ room, reason }: { room: string | null; reason: string }, mark: unknown): void {
    const keys = room === null ? Object.keys(this.#state.talks).filter((key) => key.startsWith('direct:')) : [keyOf('room', room)];
    for (const key of keys) {
      const offset = this.#state.talks[key]?.upTo ?? (typeof mark === 'string' ? mark : null);
      if (offset !== null) this.#add(key, { kind: 'gap', offset, reason });
    }
  }

  #add(key: string, entry: Entry): void {
    this.#came.set(key, [...(this.#came.get(key) ?? []), entry]);
    this.#flush ??= setTimeout(() => {
      this.#flush = undefined;
      const came = [...this.#came];
      this.#came.clear();
      for (const [talk, entries] of came) this.dispatch({ type: 'came', key: talk, entries });
    }, TOGETHER_MS);
  }

  #refused(key: string, error: unknown): void {
    if (!(error instanceof Refused)) {
      if (this.#session) void this.#join(key);
      return;
    }
    const { refusal } = error;
    this.dispatch({ type: 'refused', key, refusal });
    if (refusal.retryAfterMs === null) return;
    const session = this.#session;
    setTimeout(() => {
      if (session && session === this.#session && this.#state.talks[key]) void this.#join(key);
    }, Math.max(refusal.retryAfterMs, LEAST_WAIT_MS));
  }
}

interface Page {
  events: { event: string; args: unknown[] }[];
  more: boolean;
}

const entriesOf = ({ events }: Page): Message[] =>
  events.flatMap(({ event, args }) => (isHeard(args[0]) ? [messageOf(event, args[0])] : []));

/** Of what is a courtesy, nobody waits for the answer. */
const ignored = (): void => undefined;

