// What the user is told and may read later: one list on all its devices.

import { type Connection, Refused, type Session } from '../connection/connection';
import type { Refusal } from '../connection/refusal';

export interface Notice {
  id: string;
  message: unknown;
  data?: unknown;
  senderId?: string;
  isRead: boolean;
  timestamp: string;
  replaces?: string;
}

export interface NoticeState {
  notices: readonly Notice[];
  unread: number;
  more: boolean;
  /** Why there are none, if that is so. */
  refusal: Refusal | null;
}

export type NoticeEvent =
  | { type: 'listed'; notices: readonly Notice[]; unread: number; more: boolean }
  | { type: 'older'; before: string; notices: readonly Notice[]; more: boolean }
  | { type: 'told'; notice: Notice }
  | { type: 'read'; id?: string; upTo?: string; unread: number }
  | { type: 'deleted'; id?: string; unread: number }
  | { type: 'counted'; unread: number }
  | { type: 'refused'; refusal: Refusal };

export const NONE: NoticeState = { notices: [], unread: 0, more: false, refusal: null };

export function after(state: NoticeState, event: NoticeEvent): NoticeState {
  switch (event.type) {
    case 'listed':
      return { notices: event.notices, unread: event.unread, more: event.more, refusal: null };
    case 'older':
      // It belongs behind the one after which it was asked for, and there once.
      if (state.notices.at(-1)?.id !== event.before) return state;
      return { ...state, notices: [...state.notices, ...event.notices], more: event.more };
    case 'told': {
      const { notice } = event;
      if (state.notices.some(({ id }) => id === notice.id)) return state;
      const replaced = state.notices.some(({ id }) => id === notice.replaces);
      const others = state.notices.filter(({ id }) => id !== notice.replaces);
      return { ...state, notices: [notice, ...others], unread: replaced ? state.unread : state.unread + 1 };
    }
    case 'read': {
      // Ids grow with time, and the list has the newest first.
      const isRead = ({ id }: Notice) => id === event.id || (event.upTo !== undefined && id <= event.upTo);
      return { ...state, unread: event.unread, notices: state.notices.map((one) => (isRead(one) ? { ...one, isRead: true } : one)) };
    }
    case 'deleted':
      return { ...state, unread: event.unread, notices: event.id === undefined ? [] : state.notices.filter(({ id }) => id !== event.id) };
    case 'counted':
      return { ...state, unread: event.unread };
    case 'refused':
      return { ...NONE, refusal: event.refusal };
  }
}

const PAGE = 20;

export class Notices {
  readonly connection: Connection;
  #state = NONE;
  #watchers = new Set<() => void>();
  #session: Session | null = null;
  /** Events that were heard. */
  #heard = 0;
  #unwatch: () => void = () => undefined;

  constructor(connection: Connection) {
    this.connection = connection;
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  };

  readonly state = (): NoticeState => this.#state;

  start(): void {
    this.connection.socket.onAny(this.#hear);
    this.#unwatch = this.connection.watch(this.#follow);
    this.#follow();
  }

  stop(): void {
    this.connection.socket.offAny(this.#hear);
    this.#unwatch();
  }

  /** What comes of it is heard by this device like by the others. */
  read(which: { id: string } | { all: true }): void {
    this.connection.insist('read', which).catch(() => undefined);
  }

  async older(): Promise<void> {
    const last = this.#state.notices.at(-1);
    if (!last) return;
    const page = await this.#page({ before: last.id });
    if (page) this.#tell({ type: 'older', before: last.id, notices: page.notifications, more: page.more });
  }

  readonly #follow = (): void => {
    const { session } = this.connection.seen();
    if (session === this.#session) return;
    this.#session = session;
    if (session && this.connection.identity.kind !== 'nobody') void this.#list();
  };

  /** What is heard while a list is on its way may be newer than the list, or be in it: then only another one tells. */
  async #list(): Promise<void> {
    for (let heard = -1; heard !== this.#heard; ) {
      heard = this.#heard;
      const page = await this.#page({});
      if (!page) return;
      this.#tell({ type: 'listed', notices: page.notifications, unread: page.unread, more: page.more });
    }
  }

  async #page(which: object): Promise<{ notifications: Notice[]; unread: number; more: boolean } | null> {
    try {
      return await this.connection.insist('notifications', { limit: PAGE, ...which });
    } catch (error) {
      if (error instanceof Refused) this.#tell({ type: 'refused', refusal: error.refusal });
      return null;
    }
  }

  readonly #hear = (event: string, what: unknown): void => {
    if (event === 'receiveNotification') this.#note({ type: 'told', notice: what as Notice });
    else if (event === 'notification:read') this.#note({ type: 'read', ...(what as { id?: string; upTo?: string; unread: number }) });
    else if (event === 'notification:deleted') this.#note({ type: 'deleted', ...(what as { id?: string; unread: number }) });
    else if (event === 'notification:unread') this.#note({ type: 'counted', ...(what as { unread: number }) });
  };

  #note(event: NoticeEvent): void {
    this.#heard++;
    this.#tell(event);
  }

  #tell(event: NoticeEvent): void {
    this.#state = after(this.#state, event);
    for (const watcher of this.#watchers) watcher();
  }
}
