// Before a run: is there a gateway, does it let these clients in, and does it know what they are going to ask?
import exec from 'k6/execution';
import http from 'k6/http';
import { common } from './settings.js';
import { auth } from './users.js';

/**
 * Goes in, joins a room and leaves, over long-polling, and ends the run in words where that cannot be done.
 * @param {{ handshakes?: number }} [plan] the most handshakes per second that are planned
 * @returns {{ run: string, startedAt: number }} what the virtual users are told
 */
export function preflight(plan = {}) {
  const run = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
  const base = `${common.url}${common.path}?EIO=4&transport=polling`;
  const tags = { name: 'preflight' };
  const params = { tags, timeout: '10s', jar: new http.CookieJar(), responseCallback: null };
  const prefix = common.namespace === '/' ? '' : `${common.namespace},`;

  const opened = http.get(base, params);
  if (opened.status === 0) stop(`nothing answers at ${common.url}: ${opened.error}`);
  if (opened.status !== 200 || !String(opened.body).startsWith('0{')) {
    stop(`${common.url}${common.path} is no Socket.IO server that lets clients in: HTTP ${opened.status} ${short(opened.body)}`);
  }
  const { sid } = JSON.parse(String(opened.body).slice(1));
  const say = (packet) => http.post(`${base}&sid=${sid}`, packet, params);
  /** The first packet that fits, of the next few answers. */
  const hear = (pattern) => {
    for (let polls = 0; polls < 5; polls++) {
      const answer = http.get(`${base}&sid=${sid}`, params);
      if (answer.status !== 200) return `HTTP ${answer.status} ${short(answer.body)}`;
      const found = String(answer.body).split('\x1e').find((packet) => pattern.test(packet));
      if (found) return found;
    }
    return 'no answer';
  };

  const token = auth(0);
  say(`40${prefix}${token ? JSON.stringify(token) : ''}`);
  const connected = hear(/^4[04]/);
  if (!connected.startsWith('40')) {
    const hint = /token_required|unauthorized|token/.test(connected)
      ? 'Give SECRET (the auth.secret of the gateway), TOKENS (a file) or TOKEN'
      : `Is NAMESPACE (${common.namespace}) one that it has?`;
    stop(`the gateway does not let these clients in: ${short(connected)}. ${hint}`);
  }
  say(`42${prefix}0${JSON.stringify(['join', { room: `preflight-${run}` }])}`);
  const joined = hear(/^43/);
  if (!joined.includes('"ok":true')) {
    stop(`the gateway does not know what these scenarios ask for, the events of the profile native: ${short(joined)}`);
  }
  say('1');

  if (plan.handshakes > 50) {
    // The default of limits.handshakes_per_second_per_address; all clients of one machine have one address.
    console.warn(`${Math.round(plan.handshakes)} handshakes a second: more RAMP_SECONDS are needed, or nodes with a higher `
      + 'GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS');
  }
  return { run, startedAt: Date.now() };
}

/** Ends the run, with k6's exit code 108. */
export function stop(why) {
  exec.test.abort(why);
}

function short(body) {
  return String(body).slice(0, 200);
}
