// One Engine.IO 4 connection, over whichever transport, and the namespaces that share it.
import { Counter, Rate } from 'k6/metrics';
import { decode, EIO, finish } from './packets.js';
import { PollingTransport } from './polling.js';
import { cookies, WebSocketTransport } from './websocket.js';

const metrics = {
  errors: new Counter('sio_errors'), // tagged kind=transport|protocol
  upgradeSuccess: new Rate('sio_upgrade_success'), // from long-polling to a websocket
  handshakesMissed: new Counter('sio_handshakes_missed'), // by k6, see #opened
};

/** `websocket` and `polling` stay what they are; `upgrade` begins with polling, as official clients do by default. */
export const TRANSPORTS = ['websocket', 'polling', 'upgrade'];

const HANDSHAKE_PATIENCE_MS = 250;
const PROBE_PATIENCE_MS = 10000;

/**
 * @typedef {object} ConnectionOptions
 * @property {string} url where the gateway is, for example `http://127.0.0.1:3000`
 * @property {string} [path]
 * @property {string} [transport] one of TRANSPORTS
 * @property {Record<string, string>} [query]
 * @property {Record<string, string>} [headers]
 * @property {Record<string, string>} [tags] for all metrics of this connection
 */

export class Connection {
  /** @param {ConnectionOptions} options */
  constructor(options) {
    this.options = { path: '/socket.io/', transport: 'websocket', query: {}, headers: {}, tags: {}, ...options };
    /** The reason why it is no longer there, or null. */
    this.ended = null;
    /** What k6 said about it, where the transport failed. */
    this.cause = '';
    /** Whether namespaces may be asked for. */
    this.ready = false;
    /** Whether the server's handshake was lost by k6, so that times up to here say nothing. */
    this.missed = false;
    /** @type {Map<string, import('./socketio.js').Socket>} */
    this.sockets = new Map();
    /** @type {import('./packets.js').Packet | null} */
    this.unfinished = null; // a packet whose attachments are still on their way
    this.held = null; // frames that wait for the change of transports
    this.address = {
      url: this.options.url, path: this.options.path, query: this.options.query, headers: this.options.headers,
      tags: this.options.tags, jar: cookies(),
    };
    const Transport = this.options.transport === 'websocket' ? WebSocketTransport : PollingTransport;
    this.transport = new Transport(this.address, {
      opened: () => this.#opened(),
      frame: (frame, receivedAt) => this.#receive(frame, receivedAt),
      failed: (cause) => this.#failed(cause),
      closed: () => this.#end('transport_close'),
    });
  }

  /** Whether frames can be sent. */
  get open() {
    return this.ended === null && this.transport.open;
  }

  /** @param {(string | ArrayBuffer)[]} frames */
  send(frames) {
    if (this.held) this.held.push(...frames);
    else if (this.open) this.transport.send(frames);
  }

  /**
   * Ends the connection from this side.
   * @param {string} reason
   * @param {boolean} [goodbye] without one the server is not told that anybody left: it finds its connection ended
   */
  close(reason, goodbye = true) {
    // Now and not when the transport says so: a peer that is gone never answers.
    this.#end(reason);
    this.probe?.close();
    this.transport.close(goodbye);
  }

  #opened() {
    // k6 throws away frames that arrive before its event loop has learned that the connection is open. Engine.IO servers
    // speak first, at once, so on a busy machine their handshake is lost now and then. It is not needed to go on, and
    // servers do not mind a CONNECT that comes early.
    this.handshakeTimer = setTimeout(() => {
      this.missed = true;
      metrics.handshakesMissed.add(1, this.options.tags);
      this.#become();
    }, HANDSHAKE_PATIENCE_MS);
  }

  #become() {
    clearTimeout(this.handshakeTimer);
    if (this.ready || this.ended) return;
    this.ready = true;
    for (const socket of this.sockets.values()) socket.ask();
  }

  #receive(frame, receivedAt) {
    if (this.ended) return;
    let packet = null;
    try {
      if (typeof frame !== 'string') {
        packet = this.#attach(frame);
      } else if (frame[0] === EIO.MESSAGE) {
        if (this.unfinished) throw new Error('a packet in place of an attachment'); // a ping would be fine
        packet = decode(frame.slice(1));
      } else {
        this.#control(frame);
      }
      if (packet && packet.attachments.length < packet.wanted) {
        this.unfinished = packet;
        return;
      }
      if (packet) finish(packet);
    } catch (error) {
      // A real client gives up on a packet it cannot read; so does this one, and counts it.
      metrics.errors.add(1, { kind: 'protocol', ...this.options.tags });
      console.error(`unreadable packet: ${error.message}`);
      this.close('parse_error');
      return;
    }
    // Outside of the try: an exception in a handler is a mistake in the scenario, and k6 should show it.
    if (packet) this.sockets.get(packet.namespace)?.receive(packet, receivedAt);
  }

  #control(frame) {
    switch (frame[0]) {
      case EIO.OPEN: {
        const handshake = JSON.parse(frame.slice(1));
        this.patienceMs = handshake.pingInterval + handshake.pingTimeout;
        if (this.transport instanceof PollingTransport) this.transport.agreed(handshake);
        this.#expectPing();
        this.#become();
        if (this.options.transport === 'upgrade' && handshake.upgrades.includes('websocket')) this.#upgrade(handshake.sid);
        break;
      }
      case EIO.PING:
        this.#expectPing();
        this.send([EIO.PONG + frame.slice(1)]);
        break;
      case EIO.CLOSE:
        this.#end('transport_close');
        this.transport.close(false);
        break;
      case EIO.NOOP:
        break;
      default:
        throw new Error(`unknown packet type ${frame[0]}`);
    }
  }

  #attach(data) {
    const packet = this.unfinished;
    if (!packet) throw new Error('an attachment that no packet announced');
    packet.attachments.push(data);
    if (packet.attachments.length === packet.wanted) this.unfinished = null;
    return packet;
  }

  /** Probes a websocket, and goes over to it; whatever fails, polling goes on. */
  #upgrade(sid) {
    const settle = (success) => {
      if (!this.probe) return;
      clearTimeout(timer);
      this.probe = null;
      metrics.upgradeSuccess.add(success, this.options.tags);
    };
    let changed = false;
    const timer = setTimeout(() => { this.probe?.close(); settle(false); }, PROBE_PATIENCE_MS);
    const probe = new WebSocketTransport({ ...this.address, query: { ...this.address.query, sid } }, {
      opened: () => probe.send([`${EIO.PING}probe`]),
      frame: (frame, receivedAt) => {
        if (changed) this.#receive(frame, receivedAt);
        else if (frame === `${EIO.PONG}probe`) this.#change(probe, () => { changed = true; settle(true); });
      },
      failed: (cause) => { if (changed) this.#failed(cause); else settle(false); },
      closed: () => { if (changed) this.#end('transport_close'); else settle(false); },
    });
    this.probe = probe;
  }

  #change(to, then) {
    const polling = this.transport;
    if (!(polling instanceof PollingTransport)) return;
    polling.pause(() => {
      if (this.ended) return;
      const held = this.held ?? [];
      this.held = null;
      this.transport = to;
      then();
      if (to.open) to.send([EIO.UPGRADE, ...held]);
      else this.#end('transport_close');
    });
    // What is sent from here on belongs into the websocket; the pause may already be over.
    if (this.transport === polling) this.held = [];
  }

  /** The server pings; a client that hears none for pingInterval + pingTimeout takes the connection for dead. */
  #expectPing() {
    clearTimeout(this.pingTimer);
    if (this.patienceMs === undefined) return; // the handshake, which tells, was missed
    this.pingTimer = setTimeout(() => this.close('ping_timeout', false), this.patienceMs);
  }

  #failed(cause) {
    if (this.ended) return;
    this.cause = cause;
    metrics.errors.add(1, { kind: 'transport', ...this.options.tags });
    this.#end('transport_error');
  }

  #end(reason) {
    if (this.ended) return;
    this.ended = reason;
    clearTimeout(this.handshakeTimer);
    clearTimeout(this.pingTimer);
    this.probe?.close();
    for (const socket of this.sockets.values()) socket.over(reason, this.cause);
  }
}
