// What scenarios are told by environment variables, and what is wrong with it in words.
import { RECOVERIES } from './client.js';
import { TRANSPORTS } from './connection.js';

/** A number above 0, or from `least` on. */
export function number(name, fallback, least = undefined) {
  const value = unset(name) ? fallback : Number(__ENV[name]);
  if (least === undefined ? !(value > 0) : !(value >= least)) {
    refuse(`${name} must be a number ${least === undefined ? 'above 0' : `from ${least} on`}, not "${__ENV[name]}"`);
  }
  return value;
}

export function whole(name, fallback, least = 1) {
  const value = number(name, fallback, least);
  if (!Number.isInteger(value)) refuse(`${name} must be a whole number, not "${__ENV[name]}"`);
  return value;
}

export function text(name, fallback = '') {
  return unset(name) ? fallback : __ENV[name];
}

export function choice(name, fallback, choices) {
  const value = text(name, fallback);
  if (!choices.includes(value)) refuse(`${name} must be one of ${choices.join(', ')}, not "${value}"`);
  return value;
}

/** What a scenario cannot do without. */
export function needed(name, why) {
  if (unset(name)) refuse(`${name} is not set: ${why}`);
  return __ENV[name];
}

/** Ends the run before it begins. */
export function refuse(why) {
  throw new Error(why);
}

function unset(name) {
  return __ENV[name] === undefined || __ENV[name] === '';
}

const url = text('URL', 'http://127.0.0.1:3000').replace(/\/$/, '');
if (!/^https?:\/\/[^/?#]+$/.test(url)) refuse(`URL must be like http://host:port, without a path, not "${url}"`);

/** What all scenarios know. */
export const common = {
  url,
  path: text('SOCKET_PATH', '/socket.io/'),
  namespace: text('NAMESPACE', '/'),
  transport: choice('TRANSPORT', 'websocket', TRANSPORTS),
  recovery: choice('RECOVERY', 'pid', RECOVERIES),
  ackP99Ms: number('ACK_P99_MS', 200),
  fanoutP99Ms: number('FANOUT_P99_MS', 250),
};

/** The options of a client of this run. */
export function dialling(auth, more = {}) {
  const { url: where, path, namespace, transport, recovery } = common;
  return { url: where, path, namespace, transport, recovery, auth, ...more };
}
