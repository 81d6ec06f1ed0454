// A client that speaks the wire protocol by hand over a websocket, to say what no official client would say.

import { once } from 'node:events';
import { WebSocket } from 'ws';

import { eventually } from './harness.mjs';

export class RawClient {
  /** Every text frame that arrived, heartbeats apart. */
  frames = [];
  /** Whether the server, or the network, ended the connection. */
  closed = false;
  #socket;
  #asked = 0;

  /** Opens the transport; the server's handshake has arrived, no session is asked for yet. */
  static async open(url) {
    const raw = new RawClient();
    raw.#socket = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    raw.#socket.on('message', (data, isBinary) => {
      const frame = data.toString();
      if (frame === '2') raw.send('3');
      else if (!isBinary) raw.frames.push(frame);
    });
    raw.#socket.on('close', () => (raw.closed = true));
    await once(raw.#socket, 'open');
    // Only from now on: an error before is the test's, later ones show in `closed`.
    raw.#socket.on('error', () => {});
    await raw.frame((frame) => frame.startsWith('0{'));
    return raw;
  }

  /** Opens the transport and a session, and joins the rooms. */
  static async inRooms(url, ...rooms) {
    const raw = await RawClient.open(url);
    raw.send('40');
    await raw.frame((frame) => frame.startsWith('40{'));
    for (const room of rooms) {
      const ack = await raw.ask(JSON.stringify(['join', { room }]));
      if (!ack.ok) throw new Error(`join of ${room} was refused: ${JSON.stringify(ack)}`);
    }
    return raw;
  }

  /** Sends a frame as it is; bytes go as a binary frame unless they are declared to be text. */
  send(data, { asText = typeof data === 'string' } = {}) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(data, { binary: !asText });
  }

  /** The first frame that arrived or will arrive and satisfies `wanted`. */
  async frame(wanted) {
    await eventually('the frame arrives', () => this.closed || this.frames.some(wanted));
    const frame = this.frames.find(wanted);
    if (frame === undefined) throw new Error('the server closed the connection instead of answering');
    return frame;
  }

  /** Sends an event, given as JSON text, with its attachments, and returns the acknowledgement. */
  async ask(json, ...attachments) {
    const id = ++this.#asked;
    const type = attachments.length > 0 ? `45${attachments.length}-` : '42';
    this.send(`${type}${id}${json}`);
    for (const attachment of attachments) this.send(attachment);
    const frame = await this.frame((candidate) => candidate.startsWith(`43${id}[`));
    return JSON.parse(frame.slice(frame.indexOf('[')))[0];
  }

  /**
   * What came of what was sent before: the server `closed` the connection, sent a `refused` event, or `ignored`
   * it, which shows in a later question being answered.
   */
  async outcome() {
    const id = ++this.#asked;
    this.send(`42${id}["leave",{"room":"nowhere"}]`);
    const answered = () => this.frames.some((frame) => frame.startsWith(`43${id}[`));
    await eventually('the server closes or answers', () => this.closed || answered(), 20_000);
    if (this.closed) return 'closed';
    return this.frames.some((frame) => frame.startsWith('42["refused"')) ? 'refused' : 'ignored';
  }

  /** Ends the connection without a word. */
  end() {
    this.#socket.terminate();
  }
}
