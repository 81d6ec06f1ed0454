// A client that comes back: reconnects as the official one does, and brings what recovers its session.
import { Rate, Trend } from 'k6/metrics';
import { Socket } from './socketio.js';

const metrics = {
  reconnectDuration: new Trend('sio_reconnect_duration', true), // from the loss until the session, waiting included
  recovered: new Rate('sio_recovered'), // of those that came back: with their session; tagged reason=... where not
};

/** How it asks for what it missed: `pid` as the official client does, `offsets` as clients that keep them themselves, or not. */
export const RECOVERIES = ['pid', 'offsets', 'none'];

/**
 * @typedef {import('./socketio.js').Options & {
 *   recovery?: string,
 *   delayMs?: number,
 *   delayMaxMs?: number,
 *   jitter?: number,
 * }} ClientOptions the delays before attempts are those of the official client: 1 s, twice as long each time up to 5 s, give
 *   or take a half
 */

export class Client {
  /** @param {ClientOptions} options */
  constructor(options) {
    this.options = { recovery: 'pid', delayMs: 1000, delayMaxMs: 5000, jitter: 0.5, ...options };
    this.handlers = new Map();
    /** The last offset that was heard, of whichever room. */
    this.offset = undefined;
    /** Of each room the last one, where the scenario keeps them: they are for `offsets`. */
    this.offsets = {};
    this.pid = undefined;
    this.attempts = 0;
    this.been = false; // whether it had a session before
    /** When the connection was lost, while it is not there. */
    this.lostAt = 0;
    this.finished = false;
    this.#dial();
  }

  get connected() {
    return this.socket.connected;
  }

  /**
   * Sets what to do on an event; one handler per event, kept over reconnects. `session` comes before anything else on each
   * connection, with what `gateway:session` says; `disconnect` with the reason, and whether it will come back;
   * `connect_error` with the refusal, after which it does not.
   * @param {string} event
   * @param {(...args: any[]) => void} handler
   */
  on(event, handler) {
    this.handlers.set(event, handler);
    this.#listen(event);
    return this;
  }

  /**
   * @param {string} event
   * @param {any[]} [args]
   * @param {(error: Error | null, args: any[], receivedAt: number) => void} [onAck]
   * @returns {boolean} whether it was sent: nothing is kept until the connection is back
   */
  emit(event, args, onAck) {
    return this.socket.emit(event, args, onAck);
  }

  /** Loses the connection without a word, and comes back. */
  cut() {
    if (this.connected) this.socket.cut();
  }

  /** Loses the connection without a word, and does not come back. */
  vanish() {
    this.finished = true;
    clearTimeout(this.timer);
    this.socket.cut();
  }

  /** Leaves for good. */
  close() {
    this.finished = true;
    clearTimeout(this.timer);
    this.socket.close();
  }

  #dial() {
    const auth = { ...this.options.auth };
    if (this.options.recovery === 'offsets') {
      // What it hears ends with offsets all the same, so that nothing else of a run differs.
      if (Object.keys(this.offsets).length > 0) auth.offsets = this.offsets;
    } else if (this.pid !== undefined) {
      auth.pid = this.pid;
      auth.offset = this.offset;
    }
    this.socket = new Socket({ ...this.options, auth });
    this.socket.on('*', (args) => {
      // As the official client: the last argument of any event, if it is a text.
      const last = args[args.length - 1];
      if (typeof last === 'string') this.offset = last;
    });
    this.socket.on('connect', (id, { pid }) => {
      if (this.options.recovery === 'pid') this.pid = pid;
    });
    this.socket.on('gateway:session', ([session]) => {
      this.attempts = 0;
      if (this.been) {
        metrics.recovered.add(session.recovered, session.recovered ? {} : { reason: session.reason ?? 'not_asked' });
        metrics.reconnectDuration.add(Date.now() - this.lostAt);
      }
      this.been = true;
      this.#call('session', session);
    });
    this.socket.on('disconnect', (reason) => this.#lost(reason));
    for (const event of this.handlers.keys()) this.#listen(event);
  }

  /** What the client itself listens to, it tells its handlers by itself. */
  #listen(event) {
    if (!['session', 'disconnect', 'connect', 'gateway:session', '*'].includes(event)) this.socket.on(event, (...args) => this.#call(event, ...args));
  }

  #lost(reason) {
    // As in the official client, who was sent away or refused stays away.
    const final = this.finished || ['io_server_disconnect', 'connect_error', 'parse_error'].includes(reason);
    if (this.attempts === 0) this.lostAt = Date.now();
    if (!final) {
      const delay = Math.min(this.options.delayMs * 2 ** this.attempts, this.options.delayMaxMs);
      this.attempts += 1;
      this.timer = setTimeout(() => this.#dial(), delay * (1 + this.options.jitter * (2 * Math.random() - 1)));
    }
    this.#call('disconnect', reason, !final);
  }

  #call(event, ...args) {
    this.handlers.get(event)?.(...args);
  }
}
