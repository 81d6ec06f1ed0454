// Socket.IO v5 packets as text, and the binary values in them: what goes into frames and comes out of them.

/** Packet types of Engine.IO 4. */
export const EIO = { OPEN: '0', CLOSE: '1', PING: '2', PONG: '3', MESSAGE: '4', UPGRADE: '5', NOOP: '6' };
/** Packet types of Socket.IO 5, inside an Engine.IO message. */
export const SIO = { CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4, BINARY_EVENT: 5, BINARY_ACK: 6 };

/**
 * @typedef {object} Packet
 * @property {number} type
 * @property {string} namespace
 * @property {number | null} id of the ack that is asked for, or answered
 * @property {string} body JSON
 * @property {number} wanted how many attachments were announced
 * @property {ArrayBuffer[]} attachments
 * @property {any} [args] the body with its attachments, once all are there
 */

/**
 * The frames of a packet: a text, and its attachments. Events and acks become the binary variant of their type by
 * themselves where they have some.
 * @param {number} type
 * @param {string} namespace
 * @param {string} id
 * @param {any} [payload]
 * @returns {(string | ArrayBuffer)[]}
 */
export function encode(type, namespace, id, payload) {
  const attachments = [];
  const body = payload === undefined ? '' : JSON.stringify(extract(payload, attachments));
  const head = attachments.length > 0 ? `${type + 3}${attachments.length}-` : String(type);
  const prefix = namespace === '/' ? '' : `${namespace},`;
  return [`${EIO.MESSAGE}${head}${prefix}${id}${body}`, ...attachments];
}

/**
 * Reads `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`.
 * @param {string} text
 * @returns {Packet}
 */
export function decode(text) {
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

/** Reads the JSON of a packet whose attachments are all there. */
export function finish(packet) {
  packet.args = packet.body === '' ? null : restore(JSON.parse(packet.body), packet.attachments);
  return packet;
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
