// One connection to the gateway: who it is for, when it is tried again, and what is known of its session.

import { io, type Socket } from 'socket.io-client';

import type { Offset } from '../../shared/offsets';
import type { Identity } from '../identity';
import { FIRST, follow, type Link, type LinkEvent, type LinkState } from './link';
import { type Refusal, refusalIn, refusalOf } from './refusal';
import { leave, type Resumed, take } from './resume';
import { waitBefore } from './retry';

/** What the first event of every connection says. */
interface Hello {
  recovered: boolean;
  pid?: string;
  reason?: string;
  rooms?: string[];
}

/** A session of which the client knows who it is; `number` grows with each connection. */
export interface Session {
  number: number;
  recovered: boolean;
  rooms: string[];
}

export interface Seen {
  link: Link;
  session: Session | null;
  /** Why the name that it wants cannot be had. */
  unnamed: Refusal | null;
}

const ACK_MS = 10_000;

export class Connection {
  readonly socket: Socket;
  readonly identity: Identity;
  #state: LinkState = FIRST;
  #seen: Seen = { link: FIRST.link, session: null, unnamed: null };
  #watchers = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #resumed: Resumed | null = null;
  #pid: string | null = null;
  #offset: Offset | null = null;
  #refusal: Refusal | null = null;
  #failures = 0;
  #began = 0;
  /** Events that came since a recovered session began, until all that it missed is there. */
  #counted: number | null = null;
  #cut = false;

  constructor(identity: Identity) {
    this.identity = identity;
    // It is tried again here and not by the client: people are told when, and the gateway may say so.
    this.socket = io({
      autoConnect: false,
      reconnection: false,
      transports: ['websocket', 'polling'],
      tryAllTransports: true,
      auth: (give) => give(this.#credentials()),
    });
    this.socket.on('gateway:session', (hello: Hello) => void this.#begin(hello));
    this.socket.on('refused', (refusal: unknown) => (this.#refusal = refusalIn(refusal)));
    this.socket.on('disconnect', (reason) => this.#lost(reason));
    this.socket.on('connect_error', (error) => this.#failed(error));
    this.socket.onAny((_event: string, ...args: unknown[]) => this.#heard(args.at(-1)));
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  };

  readonly seen = (): Seen => this.#seen;

  start(): void {
    this.#resumed = take();
    addEventListener('pagehide', this.#leave);
    addEventListener('pageshow', take);
    addEventListener('online', this.tryNow);
    addEventListener('offline', this.#offline);
    this.tryNow();
  }

  /** For good: the session ends with it. */
  stop(): void {
    clearTimeout(this.#timer);
    removeEventListener('pagehide', this.#leave);
    removeEventListener('pageshow', take);
    removeEventListener('online', this.tryNow);
    removeEventListener('offline', this.#offline);
    this.socket.off().offAny();
    this.socket.disconnect();
  }

  readonly tryNow = (): void => {
    clearTimeout(this.#timer);
    if (this.socket.connected) return;
    this.#cut = false;
    this.#tell({ type: 'trying' });
    this.socket.connect();
  };

  /** Breaks the connection as a network does, and comes back after a time. */
  cut(ms: number): void {
    this.#cut = true;
    this.socket.io.engine.close();
    this.#again(ms);
  }

  /** Asks for something; throws a `Refused` or, if there was no answer, an `Unanswered`. */
  async ask<T>(event: string, body: object): Promise<T> {
    let answer: unknown;
    try {
      answer = await this.socket.timeout(ACK_MS).emitWithAck(event, body);
    } catch {
      throw new Unanswered();
    }
    const refusal = refusalIn(answer);
    if (refusal) throw new Refused(refusal);
    return answer as T;
  }

  /** The same, asked again where later is the answer or none came, as long as the connection lasts. */
  async insist<T>(event: string, body: object): Promise<T> {
    const number = this.#began;
    for (let failures = 1; ; failures++) {
      try {
        return await this.ask<T>(event, body);
      } catch (error) {
        const refusal = error instanceof Refused ? error.refusal : null;
        if (refusal?.retryAfterMs === null) throw error;
        await new Promise((resolve) => setTimeout(resolve, waitBefore(failures, refusal?.retryAfterMs ?? null)));
        if (number !== this.#began || !this.socket.connected) throw error;
      }
    }
  }

  #credentials(): object {
    const token = this.identity.kind === 'token' ? { token: this.identity.token } : {};
    // The client adds what it knows of a session of its own. One of the page before it does not know.
    const resumed = this.#pid === null && this.#resumed ? this.#resumed : {};
    return { ...token, ...resumed };
  }

  async #begin(hello: Hello): Promise<void> {
    this.#pid = hello.pid ?? null;
    this.#failures = 0;
    this.#refusal = null;
    this.#began++;
    const number = this.#began;
    this.#counted = hello.recovered ? 0 : null;
    this.#tell({ type: 'began', recovered: hello.recovered, reason: hello.reason ?? null, now: Date.now() });
    const rooms = hello.rooms ?? [];
    // What it missed is counted before it says something itself.
    if (hello.recovered) await this.#catchUp(rooms[0]);
    const unnamed = hello.recovered ? null : await this.#introduce();
    if (number !== this.#began || !this.socket.connected) return;
    this.#show({ session: unnamed ? null : { number, recovered: hello.recovered, rooms }, unnamed });
  }

  /** Says who it is, where nobody has to prove it. */
  async #introduce(): Promise<Refusal | null> {
    if (this.identity.kind !== 'named') return null;
    try {
      await this.insist('identify', { user: this.identity.user });
      await this.insist('claim', { name: this.identity.name });
      return null;
    } catch (error) {
      return error instanceof Refused ? error.refusal : null;
    }
  }

  /** An answer comes after everything that was missed. */
  async #catchUp(room: string | undefined): Promise<void> {
    const number = this.#began;
    try {
      await (room === undefined ? this.ask('notifications', { limit: 1 }) : this.ask('presence', { room, limit: 1 }));
    } catch (error) {
      if (!(error instanceof Refused)) return;
    }
    if (number !== this.#began || this.#counted === null) return;
    this.#tell({ type: 'caughtUp', missed: this.#counted });
    this.#counted = null;
  }

  #heard(last: unknown): void {
    if (typeof last !== 'string') return;
    this.#offset = last;
    if (this.#counted !== null) this.#counted++;
  }

  #lost(reason: Socket.DisconnectReason): void {
    this.#counted = null;
    if (reason === 'io client disconnect') return;
    if (reason === 'io server disconnect') {
      this.#tell({ type: 'ended', refusal: this.#refusal });
      this.#show({ session: null });
      return;
    }
    this.#tell({ type: 'lostConnection', now: Date.now(), cut: this.#cut, refusal: this.#refusal });
    this.#show({ session: null });
    if (!this.#cut && navigator.onLine) this.#again(waitBefore(1, null));
  }

  #failed(error: Error): void {
    const refusal = this.#worded(refusalOf(error));
    // An error of the connect itself is final, unlike one of the transport: the client is not active any more.
    if (!this.socket.active) return this.#tell({ type: 'ended', refusal });
    this.#failures++;
    const wait = waitBefore(this.#failures, refusal?.retryAfterMs ?? null);
    this.#tell({ type: 'failed', now: Date.now(), refusal, retryAt: Date.now() + wait });
    this.#again(wait);
  }

  /** Who brought no token has no wrong one. */
  #worded(refusal: Refusal | null): Refusal | null {
    const isMissing = refusal?.code === 'unauthorized' && this.identity.kind !== 'token';
    return isMissing ? { ...refusal, code: 'token_required' } : refusal;
  }

  #again(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.tryNow, ms);
    this.#tell({ type: 'waits', retryAt: Date.now() + ms });
  }

  /** The browser knows before any ping does. */
  readonly #offline = (): void => {
    if (this.socket.connected) this.socket.io.engine.close();
  };

  readonly #leave = (): void => {
    if (this.#pid !== null) leave({ pid: this.#pid, offset: this.#offset });
  };

  #tell(event: LinkEvent): void {
    this.#state = follow(this.#state, event);
    this.#show({ link: this.#state.link });
  }

  #show(change: Partial<Seen>): void {
    this.#seen = { ...this.#seen, ...change };
    for (const watcher of this.#watchers) watcher();
  }
}

/** The gateway said no. */
export class Refused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** Nobody knows whether it was done. */
export class Unanswered extends Error {}
