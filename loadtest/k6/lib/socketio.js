// A Socket.IO v5 client (Engine.IO v4, websocket transport) for k6, with metrics of what it experiences.
//
// One virtual user can own many of these: all sockets of `k6/websockets` share the event loop of their
// virtual user. Every Socket is one connection and one session in one namespace, like a client made with
// `io(url, { transports: ["websocket"], forceNew: true })`. It never reconnects: what to do after a
// disconnect is the scenario's decision.
import http from 'k6/http';
import { Counter, Rate, Trend } from 'k6/metrics';
import { WebSocket } from 'k6/websockets';

const metrics = {
  connectDuration: new Trend('sio_connect_duration', true), // dialling until the session is there
  connectSuccess: new Rate('sio_connect_success'),
  ackDuration: new Trend('sio_ack_duration', true), // tagged event=...
  ackSuccess: new Rate('sio_ack_success'), // an ack came at all; a refusal is an ack too
  eventsSent: new Counter('sio_events_sent'),
  eventsReceived: new Counter('sio_events_received'),
  disconnects: new Counter('sio_disconnects'), // tagged reason=...
  errors: new Counter('sio_errors'), // tagged kind=transport|protocol
  handshakesMissed: new Counter('sio_handshakes_missed'), // by k6, see #opened
};

// Packet types, first Engine.IO's, then those of Socket.IO inside an Engine.IO message.
const EIO = { OPEN: '0', CLOSE: '1', PING: '2', PONG: '3', MESSAGE: '4', NOOP: '6' };
const SIO = { CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4, BINARY_EVENT: 5, BINARY_ACK: 6 };

const CONNECTING = 0; // WebSocket.readyState
const OPEN = 1;

const HANDSHAKE_PATIENCE_MS = 250;

/**
 * @typedef {object} Options
 * @property {string} url where the gateway is, for example `http://127.0.0.1:3000`
 * @property {string} [path]
 * @property {string} [namespace]
 * @property {object} [auth] goes into the CONNECT packet
 * @property {Record<string, string>} [query]
 * @property {Record<string, string>} [headers]
 * @property {Record<string, string>} [tags] for all metrics of this socket
 * @property {number} [ackTimeoutMs]
 * @property {number} [connectTimeoutMs]
 *
 * @typedef {object} Delivery
 * @property {number} receivedAt when the frame came off the network, in milliseconds since 1970, with fractions
 * @property {((...args: any[]) => void) | null} ack answers the event, where the server asked for it
 *
 * @typedef {object} Packet
 * @property {number} type
 * @property {string} namespace
 * @property {number | null} id of the ack that is asked for, or answered
 * @property {string} body JSON
 * @property {number} wanted how many attachments were announced
 * @property {ArrayBuffer[]} attachments
 * @property {any} [args] the body with its attachments, once all are there
 */

export class Socket {
  /** @param {Options} options */
  constructor(options) {
    this.options = {
      path: '/socket.io/', namespace: '/', query: {}, headers: {}, tags: {},
      ackTimeoutMs: 10000, connectTimeoutMs: 20000,
      ...options,
    };
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
    /** @type {Packet | null} */
    this.unfinished = null; // a packet whose attachments are still on their way
    this.prefix = this.options.namespace === '/' ? '' : `${this.options.namespace},`;
    this.startedAt = Date.now();
    this.settled = false; // whether this attempt is counted in sio_connect_success

    const query = Object.entries({ EIO: '4', transport: 'websocket', ...this.options.query })
      .map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
    const base = this.options.url.replace(/^http/, 'ws').replace(/\/$/, '');
    this.ws = new WebSocket(`${base}${this.options.path}?${query}`, null, {
      headers: this.options.headers,
      // The name defaults to the whole URL, so that every query string would be a time series of its own.
      tags: { name: 'socket.io', ...this.options.tags },
      // The default jar belongs to the virtual user: a load balancer's sticky cookie on the first socket would
      // pin all its later sockets to the same node.
      jar: new http.CookieJar(),
    });
    this.ws.binaryType = 'arraybuffer'; // the default, blob, can only be read asynchronously
    this.ws.onopen = () => this.#opened();
    this.ws.onmessage = (event) => this.#receive(event.data, event.timestamp);
    this.ws.onerror = (event) => this.#transportError(event.error);
    this.ws.onclose = () => this.#end('transport_close');
    this.connectTimer = setTimeout(() => this.#fail('connect_timeout'), this.options.connectTimeoutMs);
  }

  get connected() {
    return this.id !== null && this.ended === null;
  }

  /**
   * Sets what to do on an event; one handler per event. Handlers of the server's events get the list of
   * arguments and a Delivery; `connect` gets the id, `connect_error` the error object, `disconnect` the reason.
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
   * @param {(error: Error | null, args: any[]) => void} [onAck] asks for an ack; called once, whatever happens
   * @returns {boolean} whether it was sent: false if there is no session (any more); then `onAck` is not called
   */
  emit(event, args = [], onAck) {
    if (!this.connected || this.ws.readyState !== OPEN) return false;
    let id = '';
    if (onAck) {
      const key = this.nextAckId++;
      id = String(key);
      const late = () => this.#settleAck(key, new Error(`no ack of ${event} in time`), [], 0);
      const timer = setTimeout(late, this.options.ackTimeoutMs);
      this.acks.set(key, { event, onAck, timer, sentAt: Date.now() });
    }
    this.#sendPacket(SIO.EVENT, id, [event, ...args]);
    metrics.eventsSent.add(1, this.options.tags);
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
      if (this.ended) reject(new Error(`not connected: ${this.ended}`));
      this.on('connect', () => { this.handlers.delete('disconnect'); resolve(this); });
      this.on('connect_error', (error) => reject(new Error(`refused: ${JSON.stringify(error)}`)));
      this.on('disconnect', (reason) => reject(new Error(`not connected: ${reason} ${this.cause}`)));
    });
  }

  /** Leaves the namespace and closes the connection. */
  close() {
    if (this.connected && this.ws.readyState === OPEN) this.ws.send(`${EIO.MESSAGE}${SIO.DISCONNECT}${this.prefix}`);
    this.#fail('io_client_disconnect');
  }

  #opened() {
    if (this.ended) {
      this.ws.close();
      return;
    }
    // k6 throws away frames that arrive before its event loop has learned that the connection is open. Engine.IO
    // servers speak first, at once, so on a busy machine their handshake is lost now and then. It is not needed to
    // go on, and servers do not mind a CONNECT that comes early.
    this.handshakeTimer = setTimeout(() => this.#connect(), HANDSHAKE_PATIENCE_MS);
  }

  #connect() {
    clearTimeout(this.handshakeTimer);
    if (this.asked || this.ws.readyState !== OPEN) return;
    this.asked = true;
    const auth = this.options.auth ? JSON.stringify(this.options.auth) : '';
    this.ws.send(`${EIO.MESSAGE}${SIO.CONNECT}${this.prefix}${auth}`);
  }

  #receive(data, receivedAt) {
    let packet = null;
    try {
      if (typeof data !== 'string') {
        packet = this.#attach(data);
      } else if (data[0] === EIO.MESSAGE) {
        if (this.unfinished) throw new Error('a packet in place of an attachment'); // a ping would be fine
        packet = decode(data.slice(1));
      } else {
        this.#control(data);
      }
      if (packet && packet.attachments.length < packet.wanted) {
        this.unfinished = packet;
        return;
      }
      if (packet) packet.args = packet.body === '' ? null : restore(JSON.parse(packet.body), packet.attachments);
    } catch (error) {
      // A real client gives up on a packet it cannot read; so does this one, and counts it.
      metrics.errors.add(1, { kind: 'protocol', ...this.options.tags });
      console.error(`unreadable packet: ${error.message}`);
      this.#fail('parse_error');
      return;
    }
    // Outside of the try: an exception in a handler is a mistake in the scenario, and k6 should show it.
    if (packet && packet.namespace === this.options.namespace) this.#dispatch(packet, receivedAt);
  }

  #control(data) {
    switch (data[0]) {
      case EIO.OPEN: {
        const handshake = JSON.parse(data.slice(1));
        this.patienceMs = handshake.pingInterval + handshake.pingTimeout;
        this.#expectPing();
        this.#connect();
        break;
      }
      case EIO.PING:
        this.#expectPing();
        this.ws.send(EIO.PONG + data.slice(1));
        break;
      case EIO.CLOSE:
        this.#fail('transport_close');
        break;
      case EIO.NOOP:
        break;
      default:
        throw new Error(`unknown packet type ${data[0]}`);
    }
  }

  #attach(data) {
    const packet = this.unfinished;
    if (!packet) throw new Error('an attachment that no packet announced');
    packet.attachments.push(data);
    if (packet.attachments.length === packet.wanted) this.unfinished = null;
    return packet;
  }

  #dispatch(packet, receivedAt) {
    const { type, id, args } = packet;
    switch (type) {
      case SIO.CONNECT:
        this.id = args.sid;
        this.#settleConnect(true);
        if (this.patienceMs === undefined) {
          // Frames come in order, so the handshake was lost, and the time spent waiting for it is not the server's.
          metrics.handshakesMissed.add(1, this.options.tags);
        } else {
          metrics.connectDuration.add(receivedAt - this.startedAt, this.options.tags);
        }
        this.#call('connect', this.id);
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
        metrics.eventsReceived.add(1, this.options.tags);
        const [event, ...rest] = args;
        const ack = id === null ? null : (...answer) => this.#sendPacket(SIO.ACK, String(id), answer);
        this.#call(event, rest, { receivedAt, ack });
        break;
      }
      case SIO.ACK:
      case SIO.BINARY_ACK:
        this.#settleAck(id, null, args, receivedAt);
        break;
    }
  }

  /** Sends an event or an ack, as the binary variant of its type if it has attachments. */
  #sendPacket(type, id, payload) {
    if (this.ws.readyState !== OPEN) return; // send() throws then, also while closing
    const attachments = [];
    const body = JSON.stringify(extract(payload, attachments));
    const head = attachments.length > 0 ? `${type + 3}${attachments.length}-` : String(type);
    this.ws.send(`${EIO.MESSAGE}${head}${this.prefix}${id}${body}`);
    for (const attachment of attachments) this.ws.send(attachment);
  }

  #settleAck(id, error, args, receivedAt) {
    const pending = this.acks.get(id);
    if (!pending) return; // an ack after its timeout
    this.acks.delete(id);
    clearTimeout(pending.timer);
    const tags = { event: pending.event, ...this.options.tags };
    metrics.ackSuccess.add(!error, tags);
    if (!error) metrics.ackDuration.add(receivedAt - pending.sentAt, tags);
    pending.onAck(error, args);
  }

  #settleConnect(success) {
    if (this.settled) return;
    this.settled = true;
    clearTimeout(this.connectTimer);
    metrics.connectSuccess.add(success, this.options.tags);
  }

  /** The server pings; a client that hears none for pingInterval + pingTimeout takes the connection for dead. */
  #expectPing() {
    clearTimeout(this.pingTimer);
    if (this.patienceMs === undefined) return; // the handshake, which tells, was missed
    this.pingTimer = setTimeout(() => this.#fail('ping_timeout'), this.patienceMs);
  }

  #transportError(error) {
    // k6 reports every close without the code 1000 as an error: also 1005 ("no status") and 1001 ("going away"),
    // with which servers close politely, and whatever follows after this side is done with the connection.
    if (this.ended || /close (1001|1005)\b/.test(error)) return;
    this.cause = error;
    metrics.errors.add(1, { kind: 'transport', ...this.options.tags });
    this.#end('transport_error');
  }

  /** Ends the socket from this side. */
  #fail(reason) {
    // Now and not on the close event: a peer that is gone never answers the closing handshake.
    this.#end(reason);
    // close() on a connection that is still being dialled blocks the whole event loop until it stands, and for
    // ever if it never does; onopen closes it then.
    if (this.ws.readyState !== CONNECTING) this.ws.close();
  }

  #end(reason) {
    if (this.ended) return;
    this.ended = reason;
    clearTimeout(this.handshakeTimer);
    clearTimeout(this.pingTimer);
    // Giving up by oneself while dialling says nothing about the server.
    if (reason === 'io_client_disconnect') this.settled = true;
    this.#settleConnect(false);
    clearTimeout(this.connectTimer);
    metrics.disconnects.add(1, { reason, ...this.options.tags });
    for (const [id, pending] of this.acks) {
      if (reason === 'io_client_disconnect') {
        // Who leaves does not wait for answers: no success, but no failure of the server either.
        this.acks.delete(id);
        clearTimeout(pending.timer);
        pending.onAck(new Error(`${reason} before the ack`), []);
      } else {
        this.#settleAck(id, new Error(`${reason} before the ack`), [], 0);
      }
    }
    this.#call('disconnect', reason);
  }

  #call(event, ...args) {
    const handler = this.handlers.get(event);
    if (handler) handler(...args);
  }
}

/**
 * Reads `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`.
 * @param {string} text
 * @returns {Packet}
 */
function decode(text) {
  const parts = /^([0-6])(?:(\d+)-)?(?:(\/[^,]*),?)?(\d+)?/.exec(text);
  if (!parts) throw new Error(`no packet: ${text.slice(0, 40)}`);
  const [head, type, wanted, namespace, id] = parts;
  return {
    type: Number(type),
    wanted: Number(wanted || 0),
    namespace: (namespace || '/').split('?')[0],
    id: id === undefined ? null : Number(id),
    body: text.slice(head.length),
    attachments: [],
  };
}

/** Replaces binary values by placeholders, and collects them. */
function extract(value, attachments) {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    const bytes = value instanceof ArrayBuffer
      ? value
      : value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
    attachments.push(bytes);
    return { _placeholder: true, num: attachments.length - 1 };
  }
  if (Array.isArray(value)) return value.map((item) => extract(item, attachments));
  if (value !== null && typeof value === 'object' && typeof value.toJSON !== 'function') {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, extract(item, attachments)]));
  }
  return value;
}

/** Puts binary values back where their placeholders are. */
function restore(value, attachments) {
  if (attachments.length === 0) return value;
  if (Array.isArray(value)) return value.map((item) => restore(item, attachments));
  if (value === null || typeof value !== 'object') return value;
  if (value._placeholder === true) {
    if (!(value.num in attachments)) throw new Error(`no attachment ${value.num}`);
    return attachments[value.num];
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, restore(item, attachments)]));
}
