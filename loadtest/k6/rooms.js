// Load scenario: many members in many rooms, a steady rate of publishes, and an audit of what members hear.
//
//   k6 run rooms.js
//   k6 run -e URL=http://127.0.0.1:8080 -e VUS=50 -e SOCKETS_PER_VU=40 -e ROOMS=100 -e RATE=200 rooms.js
//
// Every socket joins one room and publishes there; RATE is the sum over all sockets, so each publish is
// delivered to VUS x SOCKETS_PER_VU / ROOMS members. Beside latencies, the run counts promises broken: events
// that were acked and never heard, heard twice, or heard out of order. One is enough to fail the run.
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { Socket } from './lib/socketio.js';

const URL = __ENV.URL || 'http://127.0.0.1:3000';
const AUTH = __ENV.TOKEN ? { token: __ENV.TOKEN } : undefined;
const VUS = number('VUS', 10);
const SOCKETS_PER_VU = number('SOCKETS_PER_VU', 20); // an open socket costs little, a virtual user megabytes
const ROOMS = number('ROOMS', 20);
const RATE = number('RATE', 50); // publishes per second, all sockets together
const PAYLOAD_BYTES = number('PAYLOAD_BYTES', 100);
const RAMP_SECONDS = number('RAMP_SECONDS', 10);
const HOLD_SECONDS = number('HOLD_SECONDS', 30);
const ACK_P99_MS = number('ACK_P99_MS', 200);
const FANOUT_P99_MS = number('FANOUT_P99_MS', 250);

const SOCKETS = VUS * SOCKETS_PER_VU;
const TAIL_MS = 2000; // from the last publish until the sockets close: what is under way must still arrive
const filler = 'x'.repeat(PAYLOAD_BYTES);

const joined = new Rate('rooms_joined'); // one sample per planned socket
const dropped = new Rate('rooms_dropped'); // one sample per socket that had joined: did it lose its connection?
const published = new Counter('rooms_published'); // acked
const refused = new Counter('rooms_refused'); // tagged code=...
const skipped = new Counter('rooms_skipped'); // due, but the publish before it was not acked yet
const fanout = new Trend('rooms_fanout_duration', true); // publish until a member has it; needs one clock
const lost = new Counter('rooms_lost');
const duplicated = new Counter('rooms_duplicated');
const disordered = new Counter('rooms_disordered');

export const options = {
  scenarios: {
    rooms: {
      executor: 'per-vu-iterations',
      vus: VUS,
      iterations: 1,
      maxDuration: `${RAMP_SECONDS + HOLD_SECONDS + 30}s`,
      gracefulStop: '5s',
    },
  },
  thresholds: {
    rooms_joined: ['rate>0.999'],
    rooms_dropped: ['rate==0'],
    rooms_published: ['count>0'], // a run in which nothing happened is no success
    rooms_lost: ['count==0'],
    rooms_duplicated: ['count==0'],
    rooms_disordered: ['count==0'],
    'sio_ack_success{event:publish}': ['rate>0.999'],
    'sio_ack_duration{event:publish}': [`p(99)<${ACK_P99_MS}`],
    rooms_fanout_duration: [`p(99)<${FANOUT_P99_MS}`],
  },
  summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max', 'count'],
};

export function setup() {
  const perSecond = SOCKETS / RAMP_SECONDS;
  if (perSecond > 50) {
    // The default of limits.handshakes_per_second_per_address; all sockets here have one address.
    console.warn(`${Math.round(perSecond)} handshakes a second: more RAMP_SECONDS are needed, or nodes with a higher `
      + 'GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS');
  }
  console.log(`${SOCKETS} sockets in ${ROOMS} rooms, ${RATE} publishes/s, `
    + `${Math.round((RATE * SOCKETS) / ROOMS)} deliveries/s, ${(RATE / ROOMS).toFixed(1)}/s to each member`);
  const startedAt = Date.now();
  return { startedAt, endsAt: startedAt + (RAMP_SECONDS + HOLD_SECONDS) * 1000 };
}

export default function ({ startedAt, endsAt }) {
  const first = (exec.vu.idInTest - 1) * SOCKETS_PER_VU;
  for (let n = 0; n < SOCKETS_PER_VU; n++) {
    // Evenly over the ramp, and interleaved between virtual users, so that handshakes do not come in bursts.
    const place = (n * VUS + exec.vu.idInTest - 1) / SOCKETS;
    const due = startedAt + place * RAMP_SECONDS * 1000;
    setTimeout(() => member(first + n, endsAt), Math.max(0, due - Date.now()));
  }
}

/** One socket's life: join, publish at its share of the rate, hear and audit, leave at the end. */
function member(index, endsAt) {
  const room = `load-${index % ROOMS}`;
  const socket = new Socket({ url: URL, auth: AUTH });
  const publisher = new Publisher(socket, room, index);
  const audit = new Audit(publisher.name);
  let inRoom = false;
  let finished = false;
  let endTimer;

  const finish = () => {
    finished = true;
    audit.settle(publisher);
    socket.close();
  };
  socket.on('connect', () => socket.emit('join', [{ room }], (error, [ack]) => {
    inRoom = !error && ack.ok === true;
    joined.add(inRoom);
    if (inRoom) {
      publisher.start(endsAt - TAIL_MS);
      endTimer = setTimeout(finish, Math.max(0, endsAt - Date.now()));
    } else {
      if (!error) refused.add(1, { code: ack.error.code });
      socket.close();
    }
  }));
  socket.on('message', ([event, offset], { receivedAt }) => audit.hear(event.data, offset, receivedAt));
  socket.on('disconnect', () => {
    publisher.stop();
    clearTimeout(endTimer);
    if (inRoom) dropped.add(!finished);
    else if (socket.id === null) joined.add(false);
  });
}

/**
 * Publishes at the socket's share of RATE, one event at a time: each says how many of its publisher were acked
 * before it, which is what members check against.
 */
class Publisher {
  constructor(socket, room, index) {
    this.socket = socket;
    this.room = room;
    this.name = `${index}-${Date.now()}`; // another run's events in the same rooms are another publisher's
    this.everyMs = (SOCKETS / RATE) * 1000;
    this.acked = 0;
    this.waiting = false;
  }

  start(stopsAt) {
    this.stopsAt = stopsAt;
    // A random phase, so that publishers do not beat in time.
    this.timer = setTimeout(() => {
      this.#publish();
      this.timer = setInterval(() => this.#publish(), this.everyMs);
    }, Math.random() * this.everyMs);
  }

  stop() {
    clearTimeout(this.timer); // clears intervals as well
  }

  #publish() {
    if (Date.now() > this.stopsAt) return;
    if (this.waiting) { skipped.add(1); return; }
    this.waiting = true;
    const data = { publisher: this.name, acked: this.acked, sentAt: Date.now(), filler };
    this.socket.emit('publish', [{ room: this.room, data }], (error, [ack]) => {
      // Without an ack nobody knows whether it is in the log: silent from here on, rather than blame someone wrongly.
      if (error) return;
      this.waiting = false;
      if (ack.ok) { this.acked += 1; published.add(1); } else { refused.add(1, { code: ack.error.code }); }
    });
  }
}

/**
 * Counts what a member did not hear, heard twice, or heard out of order. The events of a publisher carry how many
 * of it were acked before: 0, 1, 2 and so on. A refused one is not in the log, and its number is used again.
 */
class Audit {
  constructor(self) {
    this.next = new Map([[self, 0]]); // publisher -> the number that its next event must carry
    this.newest = '';
  }

  hear(data, offset, receivedAt) {
    fanout.add(Math.max(0, receivedAt - data.sentAt));
    if (follows(this.newest, offset)) disordered.add(1); // such an event counts as lost and doubled as well
    else this.newest = offset;

    // Who was there before this member joined is followed from the first event on that it hears.
    const next = this.next.has(data.publisher) ? this.next.get(data.publisher) : data.acked;
    if (data.acked > next) lost.add(data.acked - next);
    if (data.acked < next) duplicated.add(1);
    this.next.set(data.publisher, Math.max(next, data.acked + 1));
  }

  /** At the end: members hear their own events too, so a publisher knows which of its last ones never came. */
  settle({ name, acked }) {
    lost.add(Math.max(0, acked - this.next.get(name)));
  }
}

/** Whether offset `a` is later than `b`: decimal strings, because JavaScript's numbers end at 2^53. */
function follows(a, b) {
  return a.length !== b.length ? a.length > b.length : a > b;
}

function number(name, fallback) {
  const value = __ENV[name] === undefined || __ENV[name] === '' ? fallback : Number(__ENV[name]);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0, not "${__ENV[name]}"`);
  return value;
}
