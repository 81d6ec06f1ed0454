// A Socket.IO v5 client for k6: one session in one namespace, with metrics of what it experiences.
//
// One virtual user can own many of these: all sockets of `k6/websockets` share the event loop of their virtual user.
// Every Socket has a connection of its own, like a client made with `io(url, { forceNew: true })`, unless it is given the
// one of another namespace. It never reconnects: `client.js` does.
import { Counter, Rate, Trend } from 'k6/metrics';
import { Connection } from './connection.js';
import { encode, SIO } from './packets.js';

const metrics = {
  connectDuration: new Trend('sio_connect_duration', true), // dialling until the session is there
  connectSuccess: new Rate('sio_connect_success'),
  ackDuration: new Trend('sio_ack_duration', true), // tagged event=...
  ackSuccess: new Rate('sio_ack_success'), // an ack came at all; a refusal is an ack too
  eventsSent: new Counter('sio_events_sent'),
  eventsReceived: new Counter('sio_events_received'),
  disconnects: new Counter('sio_disconnects'), // tagged reason=...
};

/**
 * @typedef {import('./connection.js').ConnectionOptions & {
 *   namespace?: string,
 *   auth?: object,
 *   connection?: Connection,
 *   ackTimeoutMs?: number,
 *   connectTimeoutMs?: number,
 * }} Options `auth` goes into the CONNECT packet, `connection` is that of another namespace, to share it
 *
 * @typedef {object} Delivery
 * @property {number} receivedAt when the frame came off the network, in milliseconds since 1970, with fractions
 * @property {((...args: any[]) => void) | null} ack answers the event, where the server asked for it
 */

export class Socket {
  /** @param {Options} options */
  constructor(options) {
    this.options = { namespace: '/', ackTimeoutMs: 10000, connectTimeoutMs: 20000, ...options };
    /** The Socket.IO id, once connected. */
    this.id = null;
    /** The reason why the socket is no longer connected, or null. */
    this.ended = null;
    /** What k6 said about it, where the transport failed. */
    this.cause = '';
    /** Events with `connect`, `connect_error` and `disconnect` among them, as in the official client. */
    this.handlers = new Map();
    this.acks = new Map();
    this.nextAckId = 0;
    this.asked = false;
    this.settled = false; // whether this attempt is counted in sio_connect_success
    this.startedAt = Date.now();
    this.alone = options.connection === undefined;
    this.connection = options.connection ?? new Connection(this.options);
    this.tags = { transport: this.connection.options.transport, ...(options.tags ?? this.connection.options.tags) };
    this.connection.sockets.set(this.options.namespace, this);
    this.connectTimer = setTimeout(() => this.#fail('connect_timeout'), this.options.connectTimeoutMs);
    if (this.connection.ended) this.over(this.connection.ended, this.connection.cause);
    else if (this.connection.ready) this.ask();
  }

  get connected() {
    return this.id !== null && this.ended === null;
  }

  /**
   * Sets what to do on an event; one handler per event. Handlers of the server's events get the list of arguments and a
   * Delivery; `connect` gets the id and what else the server said, `connect_error` the error object, `disconnect` the reason.
   * @param {string} event
   * @param {(...args: any[]) => void} handler
   */
  on(event, handler) {
    this.handlers.set(event, handler);
    return this;
  }

  /**
   * Sends an event. Arguments may hold ArrayBuffers and typed arrays at any depth.
   * @param {string} event
   * @param {any[]} [args]
   * @param {(error: Error | null, args: any[], receivedAt: number) => void} [onAck] asks for an ack; called once, whatever happens
   * @returns {boolean} whether it was sent: false if there is no session (any more); then `onAck` is not called
   */
  emit(event, args = [], onAck) {
    if (!this.connected || !this.connection.open) return false;
    let id = '';
    if (onAck) {
      const key = this.nextAckId++;
      id = String(key);
      const late = () => this.#settleAck(key, new Error(`no ack of ${event} in time`), [], 0);
      const timer = setTimeout(late, this.options.ackTimeoutMs);
      this.acks.set(key, { event, onAck, timer, sentAt: Date.now() });
    }
    this.#sendPacket(SIO.EVENT, id, [event, ...args]);
    metrics.eventsSent.add(1, this.tags);
    return true;
  }

  /**
   * Sends an event and waits for its ack.
   * @param {string} event
   * @param {...any} args
   * @returns {Promise<any>} the ack's first argument; rejected if none comes
   */
  request(event, ...args) {
    return new Promise((resolve, reject) => {
      const sent = this.emit(event, args, (error, answer) => (error ? reject(error) : resolve(answer[0])));
      if (!sent) reject(new Error(`${event} not sent: ${this.ended || 'not connected yet'}`));
    });
  }

  /**
   * Waits for the session.
   * @returns {Promise<Socket>} rejected if the connection or the session is refused; takes the place of the
   *   handlers of `connect` and `connect_error`, and of `disconnect` until then
   */
  ready() {
    return new Promise((resolve, reject) => {
      if (this.connected) resolve(this);
      if (this.ended) reject(new Error(`not connected: ${this.ended} ${this.cause}`));
      this.on('connect', () => { this.handlers.delete('disconnect'); resolve(this); });
      this.on('connect_error', (error) => reject(new Error(`refused: ${JSON.stringify(error)}`)));
      this.on('disconnect', (reason) => reject(new Error(`not connected: ${reason} ${this.cause}`)));
    });
  }

  /** Leaves the namespace, and closes the connection unless it is another's. */
  close() {
    if (this.connected && this.connection.open) this.#sendPacket(SIO.DISCONNECT, '', undefined);
    this.#fail('io_client_disconnect');
  }

  /** Ends the connection without a word, as a network does: the session is still there for who comes back to it. */
  cut() {
    this.over('cut', '');
    this.connection.close('cut', false);
  }

  /** Asks for the session: the connection says when. */
  ask() {
    if (this.asked || this.ended) return;
    this.asked = true;
    this.#sendPacket(SIO.CONNECT, '', this.options.auth);
  }

  /**
   * A packet of this namespace.
   * @param {import('./packets.js').Packet} packet
   * @param {number} receivedAt
   */
  receive({ type, id, args }, receivedAt) {
    if (this.ended) return;
    switch (type) {
      case SIO.CONNECT:
        this.id = args.sid;
        this.#settleConnect(true);
        // Where k6 lost the handshake, the time spent waiting for it is not the server's.
        if (!this.connection.missed) metrics.connectDuration.add(receivedAt - this.startedAt, this.tags);
        this.#call('connect', this.id, args);
        break;
      case SIO.CONNECT_ERROR:
        this.#settleConnect(false);
        this.#call('connect_error', args);
        this.#fail('connect_error');
        break;
      case SIO.DISCONNECT:
        // The official client does not come back after this one, unlike after a closed transport.
        this.#fail('io_server_disconnect');
        break;
      case SIO.EVENT:
      case SIO.BINARY_EVENT: {
        metrics.eventsReceived.add(1, this.tags);
        const [event, ...rest] = args;
        const ack = id === null ? null : (...answer) => this.#sendPacket(SIO.ACK, String(id), answer);
        this.handlers.get('*')?.(rest);
        this.#call(event, rest, { receivedAt, ack });
        break;
      }
      case SIO.ACK:
      case SIO.BINARY_ACK:
        this.#settleAck(id, null, args, receivedAt);
        break;
    }
  }

  /**
   * The session is over, or never came to be.
   * @param {string} reason
   * @param {string} cause
   */
  over(reason, cause) {
    if (this.ended) return;
    this.ended = reason;
    this.cause = cause;
    const ours = reason === 'io_client_disconnect' || reason === 'cut';
    // Giving up by oneself while dialling says nothing about the server.
    if (ours) this.settled = true;
    this.#settleConnect(false);
    clearTimeout(this.connectTimer);
    metrics.disconnects.add(1, { reason, ...this.tags });
    for (const [id, pending] of this.acks) {
      if (ours) {
        // Who leaves does not wait for answers: no success, but no failure of the server either.
        this.acks.delete(id);
        clearTimeout(pending.timer);
        pending.onAck(new Error(`${reason} before the ack`), [], 0);
      } else {
        this.#settleAck(id, new Error(`${reason} before the ack`), [], 0);
      }
    }
    this.#call('disconnect', reason);
  }

  #fail(reason) {
    this.over(reason, '');
    this.connection.sockets.delete(this.options.namespace);
    if (this.alone) this.connection.close(reason);
  }

  #sendPacket(type, id, payload) {
    this.connection.send(encode(type, this.options.namespace, id, payload));
  }

  #settleAck(id, error, args, receivedAt) {
    const pending = this.acks.get(id);
    if (!pending) return; // an ack after its timeout
    this.acks.delete(id);
    clearTimeout(pending.timer);
    const tags = { event: pending.event, ...this.tags };
    metrics.ackSuccess.add(!error, tags);
    if (!error) metrics.ackDuration.add(receivedAt - pending.sentAt, tags);
    pending.onAck(error, args, receivedAt);
  }

  #settleConnect(success) {
    if (this.settled) return;
    this.settled = true;
    clearTimeout(this.connectTimer);
    metrics.connectSuccess.add(success, this.tags);
  }

  #call(event, ...args) {
    this.handlers.get(event)?.(...args);
  }
}
