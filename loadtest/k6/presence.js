// Presence: members come, go, lose their connection and vanish, and every node's count has to be right soon after, and never wrong
// about those who come back in time.
//
//   k6 run presence.js
//   k6 run -e SECRET=... -e CLIENTS=500 -e ROOM_SIZE=50 -e ROUNDS=3 presence.js      each client a user of its own
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { Client } from './lib/client.js';
import { crowdSettings, pause } from './lib/crowd.js';
import { preflight } from './lib/preflight.js';
import { common, dialling, number, refuse, text, whole } from './lib/settings.js';
import { summary } from './lib/summary.js';
import { auth } from './lib/users.js';

if (common.transport !== 'websocket') {
  refuse('presence needs TRANSPORT=websocket: that a long-polling client has vanished shows only after the ping timeout');
}
if (text('TOKEN')) refuse('presence needs a user for each client (SECRET or TOKENS), or anonymous ones: all sessions of one user are one member');

const settings = crowdSettings({ clients: 100, roomSize: 10 });
const { clients, vus, parts, roomSize, rampSeconds } = settings;
const ROUNDS = whole('ROUNDS', 1);
const LINGER_SECONDS = number('LINGER_SECONDS', 5, 1); // presence.linger of the gateway
const LEASE_SECONDS = number('LEASE_SECONDS', 15, 0); // presence.lease: a node looks three times in it for who has gone
const SETTLED_P99_MS = number('SETTLED_P99_MS', 1000); // from a change until the count is right
const VANISH_P99_MS = SETTLED_P99_MS + (LINGER_SECONDS + LEASE_SECONDS / 3) * 1000;
const PATIENCE_MS = 10000 + VANISH_P99_MS;
const LOOK_MS = 100;
const COMEBACK_MS = 400; // give or take a half: within the time of grace, whatever it is
const SHARE = 0.3; // of a room's members, who go

const settled = new Rate('presence_settled'); // one sample per change and room: did the count become right?
const settledDuration = new Trend('presence_settled_duration', true); // tagged change=join|leave|vanish|goodbye
const steady = new Rate('presence_steady'); // of looks while members flap: the count must not move
const listed = new Rate('presence_listed'); // whether the pages list exactly the members
const completed = new Counter('presence_completed');

const seconds = rampSeconds + ROUNDS * (10 + VANISH_P99_MS / 1000) + PATIENCE_MS / 1000;
export const options = {
  scenarios: {
    presence: { executor: 'per-vu-iterations', vus, iterations: 1, maxDuration: `${Math.ceil(seconds) + 60}s`, gracefulStop: '5s' },
  },
  thresholds: {
    presence_completed: [`count==${vus / parts}`],
    presence_settled: ['rate==1'],
    presence_steady: ['rate==1'],
    presence_listed: ['rate==1'],
    'presence_settled_duration{change:join}': [`p(99)<${SETTLED_P99_MS}`],
    'presence_settled_duration{change:leave}': [`p(99)<${SETTLED_P99_MS}`],
    'presence_settled_duration{change:goodbye}': [`p(99)<${SETTLED_P99_MS}`],
    // Who vanishes counts for the time of grace, and then until a node looks.
    'presence_settled_duration{change:vanish}': [`p(99)<${VANISH_P99_MS}`],
    sio_connect_success: ['rate==1'],
    sio_recovered: ['rate==1'],
    'sio_ack_success{event:presence}': ['rate>0.999'],
    'sio_ack_duration{event:presence}': [`p(99)<${common.ackP99Ms}`],
    'sio_errors{kind:protocol}': ['count==0'],
  },
  summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max', 'count'],
};

export const setup = () => preflight({ handshakes: clients / rampSeconds });
export const handleSummary = summary('presence', (values) => ['join', 'leave', 'vanish', 'goodbye'].map((change) => {
  const times = values(`presence_settled_duration{change:${change}}`);
  return times?.count > 0 ? `${change}: counts are right after ${(times.med / 1000).toFixed(2)} s (half), ${(times['p(99)'] / 1000).toFixed(2)} s (99 %)`
    : `${change}: never right`;
}));

export default async function ({ run, startedAt }) {
  const vu = exec.scenario.iterationInTest;
  const own = Math.floor((clients - vu - 1) / vus) + 1;
  const rooms = Array.from({ length: Math.floor(own / roomSize) }, (_, n) => new Room(`presence-${run}-${vu}-${n}`));
  try {
    for (let n = 0; n < rooms.length * roomSize; n++) {
      // Evenly over the ramp, between virtual users too.
      const due = startedAt + ((n * vus + vu) / clients) * rampSeconds * 1000;
      await pause(Math.max(0, due - Date.now()));
      rooms[Math.floor(n / roomSize)].invite(n * vus + vu);
    }
    await Promise.all(rooms.map((room) => room.live(clients + vu)));
    completed.add(1);
  } finally {
    for (const room of rooms) room.close();
  }
}

/** A room, its members, and one more who stays and looks: only members may ask. */
class Room {
  constructor(name) {
    this.name = name;
    /** @type {Client[]} */
    this.members = [];
    this.there = 0; // joins that were answered
  }

  invite(index) {
    this.#enter(new Client(dialling(auth(index), { delayMs: COMEBACK_MS })));
  }

  async live(watcherIndex) {
    this.watcher = new Client(dialling(auth(watcherIndex)));
    await new Promise((resolve) => {
      this.watcher.on('session', ({ recovered }) => {
        if (recovered) resolve(undefined);
        else this.watcher.emit('join', [{ room: this.name }], resolve);
      });
    });
    const all = this.members.length;
    const some = Math.max(1, Math.floor(all * SHARE));
    await until(() => this.there === all);
    await this.#settles('join', all);
    await this.#lists(all);

    for (let round = 0; round < ROUNDS; round++) {
      // Some leave the room, and come back.
      await Promise.all(this.members.slice(0, some).map((member) => ask(member, 'leave', { room: this.name })));
      await this.#settles('leave', all - some);
      await Promise.all(this.members.slice(0, some).map((member) => ask(member, 'join', { room: this.name })));
      await this.#settles('join', all);

      // Some lose their connection, and come back in time: nobody may have noticed.
      for (const member of this.members.slice(0, some)) member.cut();
      const end = Date.now() + 5 * COMEBACK_MS;
      while (Date.now() < end) {
        steady.add(await this.#count() === all);
        await pause(LOOK_MS);
      }
      await until(() => this.members.every(({ connected }) => connected));

      // Some vanish, and others come in their place.
      const gone = this.members.splice(0, some);
      for (const member of gone) member.vanish();
      await this.#settles('vanish', all - some);
      this.there = 0;
      // Those who are gone are the same users, if they are any: they begin anew.
      for (const { options: same } of gone) this.#enter(new Client(same));
      await until(() => this.there === some);
      await this.#settles('join', all);
    }
    const leaving = this.members.splice(0, some);
    for (const member of leaving) member.close();
    await this.#settles('goodbye', all - some);
    await this.#lists(all - some);
  }

  close() {
    this.watcher?.close();
    for (const member of this.members) member.close();
  }

  #enter(client) {
    client.on('session', ({ recovered }) => {
      if (!recovered) client.emit('join', [{ room: this.name }], (error, [ack]) => { if (!error && ack.ok) this.there += 1; });
    });
    this.members.push(client);
  }

  async #count() {
    const answer = await ask(this.watcher, 'presence', { room: this.name, limit: 1 });
    return answer?.ok ? answer.count - 1 : null;
  }

  /** Looks until the count is right, and says how long that took. */
  async #settles(change, expected) {
    const from = Date.now();
    let count = await this.#count();
    while (count !== expected && Date.now() - from < PATIENCE_MS) {
      await pause(LOOK_MS);
      count = await this.#count();
    }
    settled.add(count === expected);
    if (count === expected) settledDuration.add(Date.now() - from, { change });
    else console.error(`${this.name}: ${count} members after ${change}, not ${expected}`);
  }

  /** Reads all pages. */
  async #lists(expected) {
    const members = new Set();
    let after;
    let pages = 0;
    do {
      const page = await ask(this.watcher, 'presence', { room: this.name, limit: 7, ...(after === undefined ? {} : { after }) });
      if (!page?.ok) break;
      for (const { member } of page.members) members.add(member);
      after = page.next;
    } while (after !== undefined && (pages += 1) < 1000);
    listed.add(members.size === expected + 1);
  }
}

/** An answer, or null where none came. */
function ask(client, event, argument) {
  return new Promise((resolve) => {
    if (!client.emit(event, [argument], (error, [answer]) => resolve(error ? null : answer))) resolve(null);
  });
}

async function until(condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!condition() && Date.now() < deadline) await pause(20);
}
