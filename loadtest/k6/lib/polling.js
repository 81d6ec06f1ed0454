// Engine.IO over HTTP long-polling: one request waits for what the server has to say, another brings what the client says.
import encoding from 'k6/encoding';
import http from 'k6/http';
import { encodeQuery } from './websocket.js';

const SEPARATOR = '\x1e'; // between the packets of one body
const CLOSE = '1';

export class PollingTransport {
  /**
   * @param {import('./websocket.js').Address} address
   * @param {import('./websocket.js').Listener} listener
   */
  constructor({ url, path, query, headers, tags, jar }, listener) {
    this.name = 'polling';
    this.done = false;
    this.listener = listener;
    this.base = `${url.replace(/\/$/, '')}${path}?${encodeQuery({ EIO: '4', transport: 'polling', ...query })}`;
    this.params = { headers, jar, tags };
    this.sid = null;
    this.maxBytes = 1e6;
    this.timeoutMs = 20000;
    /** @type {string[]} */
    this.waiting = []; // packets for the next POST
    this.posting = false;
    this.polling = false;
    /** @type {(() => void) | null} */
    this.paused = null;
    this.#poll();
  }

  get open() {
    return !this.done && this.sid !== null;
  }

  /**
   * What the handshake said.
   * @param {{ sid: string, maxPayload: number, pingInterval: number, pingTimeout: number }} handshake
   */
  agreed({ sid, maxPayload, pingInterval, pingTimeout }) {
    this.sid = sid;
    this.maxBytes = maxPayload;
    this.timeoutMs = pingInterval + pingTimeout + 5000; // the heartbeat finds out before
  }

  /** @param {(string | ArrayBuffer)[]} frames */
  send(frames) {
    for (const frame of frames) this.waiting.push(typeof frame === 'string' ? frame : `b${encoding.b64encode(frame)}`);
    this.#post();
  }

  /**
   * Lets the requests that are under way come back, and asks no more.
   * @param {() => void} then
   */
  pause(then) {
    this.paused = then;
    this.#quiet();
  }

  /**
   * Ends it, and is silent from now on. k6 cannot abort a request, so the last poll stays until the server answers it; it is
   * told to, unless the connection is to be as if cut.
   * @param {boolean} goodbye
   */
  close(goodbye) {
    if (this.done) return;
    this.done = true;
    if (goodbye && this.sid !== null) this.send([CLOSE]);
    else this.waiting = [];
  }

  async #ask(method, body, name) {
    const url = this.sid === null ? this.base : `${this.base}&sid=${this.sid}`;
    const params = { ...this.params, tags: { name, ...this.params.tags }, timeout: this.timeoutMs };
    if (method === 'POST') params.headers = { 'content-type': 'text/plain;charset=UTF-8', ...params.headers };
    const answer = await http.asyncRequest(method, url, body, params);
    if (answer.status !== 200 && !this.done) {
      this.done = true;
      this.waiting = [];
      const why = answer.status === 0 ? answer.error : `HTTP ${answer.status} ${String(answer.body).slice(0, 120)}`;
      this.listener.failed(why);
    }
    return answer;
  }

  async #poll() {
    this.polling = true;
    const answer = await this.#ask('GET', null, this.sid === null ? 'socket.io handshake' : 'socket.io poll');
    this.polling = false;
    const receivedAt = Date.now();
    if (this.done) return;
    for (const packet of String(answer.body).split(SEPARATOR)) {
      // An answer may close the connection, or make its owner close it.
      if (this.done) return;
      this.listener.frame(packet[0] === 'b' ? encoding.b64decode(packet.slice(1)) : packet, receivedAt);
    }
    if (this.done) return;
    if (this.paused) this.#quiet();
    else this.#poll();
  }

  async #post() {
    if (this.posting || this.waiting.length === 0) return;
    this.posting = true;
    await this.#ask('POST', this.#next(), 'socket.io post');
    this.posting = false;
    if (this.paused) this.#quiet();
    else this.#post(); // the goodbye too, which may wait behind another
  }

  /** As many packets as one request may carry. */
  #next() {
    let bytes = 0;
    let count = 0;
    // Text may need up to three bytes a letter; the first one goes whatever it has.
    while (count < this.waiting.length && (count === 0 || bytes + this.waiting[count].length * 3 < this.maxBytes)) {
      bytes += this.waiting[count].length * 3 + 1;
      count += 1;
    }
    return this.waiting.splice(0, count).join(SEPARATOR);
  }

  #quiet() {
    if (this.polling || this.posting || this.done || !this.paused) return;
    if (this.waiting.length > 0) {
      this.#post();
      return;
    }
    const then = this.paused;
    this.paused = null;
    this.done = true;
    then();
  }
}
