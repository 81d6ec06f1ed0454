// Engine.IO over a websocket: one frame is one packet.
import http from 'k6/http';
import { WebSocket } from 'k6/websockets';

const CONNECTING = 0; // WebSocket.readyState
const OPEN = 1;

/**
 * @typedef {object} Listener what a transport tells its connection
 * @property {() => void} opened
 * @property {(frame: string | ArrayBuffer, receivedAt: number) => void} frame
 * @property {(cause: string) => void} failed it ended, and not politely
 * @property {() => void} closed it ended
 *
 * @typedef {object} Address
 * @property {string} url
 * @property {string} path
 * @property {Record<string, string>} query
 * @property {Record<string, string>} headers
 * @property {Record<string, string>} tags
 * @property {any} jar
 */

/** The cookies of one connection. */
export function cookies() {
  // The default jar belongs to the virtual user: a load balancer's sticky cookie on the first socket would pin all its
  // later sockets to the same node.
  return new http.CookieJar();
}

export class WebSocketTransport {
  /**
   * @param {Address} address
   * @param {Listener} listener
   */
  constructor({ url, path, query, headers, tags, jar }, listener) {
    this.name = 'websocket';
    this.done = false;
    const base = url.replace(/^http/, 'ws').replace(/\/$/, '');
    this.ws = new WebSocket(`${base}${path}?${encodeQuery({ EIO: '4', transport: 'websocket', ...query })}`, null, {
      headers,
      // The name defaults to the whole URL, so that every query string would be a time series of its own.
      tags: { name: 'socket.io', ...tags },
      jar,
    });
    this.ws.binaryType = 'arraybuffer'; // the default, blob, can only be read asynchronously
    this.ws.onopen = () => {
      if (this.done) this.ws.close();
      else listener.opened();
    };
    this.ws.onmessage = (event) => { if (!this.done) listener.frame(/** @type {string | ArrayBuffer} */ (event.data), event.timestamp); };
    this.ws.onerror = (event) => {
      // k6 reports every close without the code 1000 as an error: also 1005 ("no status") and 1001 ("going away"), with
      // which servers close politely, and whatever follows after this side is done with the connection.
      if (this.done || /close (1001|1005)\b/.test(event.error)) return;
      this.done = true;
      listener.failed(event.error);
    };
    this.ws.onclose = () => {
      if (this.done) return;
      this.done = true;
      listener.closed();
    };
  }

  /** Whether frames can be sent: k6's send() throws otherwise, also while closing. */
  get open() {
    return !this.done && this.ws.readyState === OPEN;
  }

  /** @param {(string | ArrayBuffer)[]} frames */
  send(frames) {
    for (const frame of frames) this.ws.send(frame);
  }

  /** Ends it, and is silent from now on: a peer that is gone never answers the closing handshake. */
  close() {
    this.done = true;
    // close() on a connection that is still being dialled blocks the whole event loop until it stands, and for ever if it
    // never does; onopen closes it then.
    if (this.ws.readyState !== CONNECTING) this.ws.close();
  }
}

/** @param {Record<string, string>} query */
export function encodeQuery(query) {
  return Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
}
