// A crowd: clients in rooms that publish at a rate and keep books of what they hear, as a plan says.
//
// Every virtual user has its share of the clients, and rooms of its own for them: so one event loop knows all that is published
// there and who is to hear it, and one clock measures. Behind a load balancer the members of a room are on all nodes.
import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
import { Books, Member, nothingYet } from './books.js';
import { Client } from './client.js';
import { common, dialling, number, refuse, text, whole } from './settings.js';
import { auth, MANY } from './users.js';

const metrics = {
  clients: new Gauge('rooms_clients'), // that are in their rooms; tagged vu=..., as there is no sum otherwise
  joined: new Rate('rooms_joined'), // one sample per planned client
  dropped: new Rate('rooms_dropped'), // one sample per client that had joined: did it lose its connection?
  published: new Counter('rooms_published'), // acked
  publish: new Trend('rooms_publish_duration', true), // until the ack; tagged phase=...
  refused: new Counter('rooms_refused'), // tagged code=...
  unanswered: new Counter('rooms_unanswered'), // no ack, nor one when they were sent again
  skipped: new Counter('rooms_skipped'), // due, and nobody there to publish it, or too many on their way
  completed: new Counter('rooms_completed'), // virtual users that came to their end
  lag: new Trend('generator_lag', true), // how late this program's own timers are: its load, not the server's
};

const TICK_MS = 20;
const TICKS_PER_SWEEP = 50;
const IN_FLIGHT = 1000; // publishes of one virtual user that wait for their acks
const ACKS_MS = 5000; // after the last publish
const JOIN_PATIENCE_MS = 10000; // of who leaves before its join was answered
const AGAIN_MS = 1000; // until a publish is sent again that was not answered
const LATE_JOINS_SECONDS = 30; // that the first stage may take longer than planned
const SAMPLES = 20000; // latencies of one stage that are kept

/** What crowds are told by the environment, and their defaults. */
export function crowdSettings(defaults = {}) {
  const settings = {
    clients: whole('CLIENTS', defaults.clients ?? 200),
    vus: whole('VUS', defaults.vus ?? 10),
    parts: whole('PARTS', 1),
    roomSize: whole('ROOM_SIZE', defaults.roomSize ?? 10),
    rate: number('RATE', defaults.rate ?? 50),
    payloadBytes: whole('PAYLOAD_BYTES', 100, 0),
    rampSeconds: number('RAMP_SECONDS', defaults.rampSeconds ?? 10),
    holdSeconds: number('HOLD_SECONDS', defaults.holdSeconds ?? 30),
  };
  if (settings.vus % settings.parts !== 0) refuse(`VUS (${settings.vus}) must be a multiple of PARTS (${settings.parts})`);
  if (settings.clients < settings.vus) refuse(`CLIENTS (${settings.clients}) must be at least VUS (${settings.vus})`);
  if (settings.roomSize > settings.clients / settings.vus) {
    refuse(`ROOM_SIZE (${settings.roomSize}) must be at most CLIENTS / VUS (${settings.clients / settings.vus}): a room's members `
      + 'share a virtual user');
  }
  return settings;
}

/** The options of k6 for a crowd: thresholds of all crowds, and those of the scenario. */
export function crowdOptions(name, plan, settings, thresholds) {
  return {
    scenarios: {
      [name]: {
        executor: 'per-vu-iterations',
        vus: settings.vus,
        iterations: 1,
        // Ramps, then acks, patience and goodbyes.
        maxDuration: `${Math.ceil(plan.seconds) + 60}s`,
        gracefulStop: '5s',
      },
    },
    thresholds: {
      // A run that broke off halfway audited nothing.
      rooms_completed: [`count==${settings.vus / settings.parts}`],
      rooms_joined: ['rate>0.999'],
      rooms_dropped: ['rate==0'],
      rooms_published: ['count>0'],
      rooms_delivered: ['count>0'],
      rooms_lost: ['count==0'],
      rooms_missed: ['count==0'],
      rooms_duplicated: ['count==0'],
      rooms_disordered: ['count==0'],
      rooms_contradicted: ['count==0'],
      'sio_ack_success{event:publish}': ['rate>0.999'],
      'sio_errors{kind:protocol}': ['count==0'],
      ...thresholds,
    },
    // Connections that k6 keeps for long-polling, of each virtual user: two for each client.
    batchPerHost: Math.max(6, Math.ceil((2 * plan.most) / settings.vus)),
    summaryTrendStats: ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max', 'count'],
  };
}

/** Thresholds of how fast it is, in the phases in which it has to be. */
export function latencies(phases, { ackP99Ms, fanoutP99Ms } = common) {
  return Object.fromEntries(phases.flatMap((phase) => [
    [`rooms_publish_duration{phase:${phase}}`, [`p(99)<${ackP99Ms}`]],
    [`rooms_fanout_duration{phase:${phase}}`, [`p(99)<${fanoutP99Ms}`]],
  ]));
}

export class Crowd {
  /**
   * @param {import('./plan.js').Plan} plan
   * @param {ReturnType<typeof crowdSettings>} settings
   * @param {{ run: string, startedAt: number }} start
   * @param {{
   *   transport?: (index: number) => string,
   *   after?: (stage: any, stats: any) => boolean | void,
   *   storms?: number[],
   *   stays?: (place: number) => boolean,
   * }} [ways] `after` hears how each stage went, and ends the run with `true`; at each of `storms`, in seconds, all lose their
   *   connections but those of whom `stays`, by their place in their room, says so
   */
  constructor(plan, settings, { run, startedAt }, ways = {}) {
    this.plan = plan;
    this.settings = settings;
    this.ways = ways;
    this.startedAt = startedAt;
    // Not the virtual user's own number: those of other scenarios are among these.
    this.vu = exec.scenario.iterationInTest;
    this.prefix = `${text('ROOM_PREFIX', 'load')}-${run}-${this.vu}`;
    this.filler = 'x'.repeat(settings.payloadBytes);
    /** @type {Books[]} */
    this.books = [];
    /** @type {Guest[]} */
    this.guests = [];
    this.complete = false; // whether all of the first stage are in their rooms
    this.end = () => {};
    /** @type {Promise<void>[]} */
    this.leaving = [];
    this.turn = 0;
    this.owed = Math.random(); // publishes that are due; a random phase, so that virtual users do not beat in time
    this.inFlight = 0;
    this.ticks = 0;
    this.storms = [...(ways.storms ?? [])];
    this.stats = { stage: null, latencies: [], lags: [], published: 0, refused: 0, skipped: 0 };
  }

  /** Runs the plan. Resolved when everybody has left and all books are settled. */
  async run() {
    nothingYet();
    for (const name of ['published', 'unanswered']) metrics[name].add(0);
    await new Promise((resolve) => {
      this.end = () => resolve(undefined);
      this.lastTick = Date.now();
      this.ticking = setInterval(() => this.#tick(), TICK_MS);
    });
    clearInterval(this.ticking);
    const deadline = Date.now() + ACKS_MS;
    while (this.inFlight > 0 && Date.now() < deadline) await pause(TICK_MS);
    while (this.guests.length > 0) this.#part();
    await Promise.all(this.leaving);
    metrics.unanswered.add(this.books.reduce((sum, { entries }) => sum + entries.size, 0));
    metrics.clients.add(0, { vu: String(this.vu) });
    metrics.completed.add(1);
  }

  /** Goes to the end at once. */
  stop() {
    this.end();
  }

  #tick() {
    const now = Date.now();
    let elapsed = (now - this.startedAt) / 1000;
    const [ramp] = this.plan.stages;
    if (elapsed >= ramp.seconds && !this.complete) {
      // The load begins when those are there who are to bear it.
      this.complete = this.guests.every((guest) => guest.everJoined) || elapsed > ramp.seconds + LATE_JOINS_SECONDS;
      if (!this.complete) {
        this.startedAt += now - this.lastTick;
        elapsed = Math.min((now - this.startedAt) / 1000, ramp.seconds - 0.001);
      }
    }
    const { stage, clients, rate } = this.plan.at(elapsed);
    const lag = Math.max(0, now - this.lastTick - TICK_MS);
    metrics.lag.add(lag);
    this.#account(stage, lag);
    if (elapsed >= this.plan.seconds) {
      this.#account(null, 0);
      this.end();
      return;
    }
    // Clients are dealt out one by one, so that handshakes of virtual users are interleaved.
    const mine = Math.max(0, Math.ceil((clients - this.vu) / this.settings.vus));
    while (this.guests.length < mine) this.#invite();
    while (this.guests.length > mine) this.#part();

    this.owed += (rate / this.settings.vus) * ((now - this.lastTick) / 1000);
    for (; this.owed >= 1; this.owed -= 1) this.#publish(stage.name);
    this.lastTick = now;

    if (this.storms.length > 0 && elapsed >= this.storms[0]) {
      this.storms.shift();
      for (const guest of this.guests) if (!this.ways.stays?.(guest.place)) guest.cut();
    }
    this.ticks += 1;
    if (this.ticks % TICKS_PER_SWEEP === 0) {
      for (const books of this.books) books.sweep();
      metrics.clients.add(this.guests.filter((guest) => guest.inRoom && guest.client.connected).length, { vu: String(this.vu) });
    }
  }

  /** Keeps what a stage was like, and tells it when the next one begins. */
  #account(stage, lag) {
    const { stats } = this;
    if (stats.stage !== stage) {
      if (stats.stage && this.ways.after?.(stats.stage, stats) === true) this.end();
      this.stats = { stage, latencies: [], lags: [], published: 0, refused: 0, skipped: 0 };
    }
    if (this.stats.lags.length < SAMPLES) this.stats.lags.push(lag);
  }

  #invite() {
    const n = this.guests.length;
    const index = n * this.settings.vus + this.vu;
    const room = Math.floor(n / this.settings.roomSize);
    this.books[room] ??= new Books(`${this.prefix}-${room}`);
    this.guests.push(new Guest(this, index, n % this.settings.roomSize, this.books[room]));
  }

  #part() {
    this.leaving.push(this.guests.pop().leave());
  }

  #publish(phase) {
    if (this.inFlight < IN_FLIGHT) {
      for (let tries = 0; tries < this.guests.length; tries++) {
        this.turn = (this.turn + 1) % this.guests.length;
        if (this.guests[this.turn].publish(phase)) return;
      }
    }
    this.stats.skipped += 1;
    metrics.skipped.add(1, { phase });
  }

  /** Follows one publish to its answer; `false` if it could not be sent. */
  send(guest, entry, sentAt, phase) {
    const data = { n: entry.n, sentAt, phase, filler: this.filler };
    const id = `${guest.books.room}-${entry.n}`;
    const { stats } = this;
    const sent = guest.client.emit('publish', [{ room: guest.books.room, data, id }], (error, [ack], receivedAt) => {
      this.inFlight -= 1;
      if (error || (!ack.ok && ack.error.code === 'unavailable')) {
        // Whether it is in the log nobody knows. It has an id, so it may be sent again.
        guest.unanswered.push({ entry, sentAt, phase });
        setTimeout(() => guest.retry(), error ? AGAIN_MS : ack.error.retryAfterMs ?? AGAIN_MS);
        if (error) return;
      }
      if (ack.ok) {
        metrics.published.add(1);
        stats.published += 1;
        metrics.publish.add(receivedAt - sentAt, { phase });
        if (stats.latencies.length < SAMPLES) stats.latencies.push(receivedAt - sentAt);
        guest.books.acked(entry, ack.offset);
      } else {
        metrics.refused.add(1, { code: ack.error.code });
        stats.refused += 1;
        if (ack.error.code !== 'unavailable') guest.books.refused(entry);
      }
    });
    if (sent) this.inFlight += 1;
    return sent;
  }
}

/** One client of a crowd, in one room. */
class Guest {
  constructor(crowd, index, place, books) {
    this.crowd = crowd;
    this.place = place;
    this.books = books;
    this.member = new Member(String(index), books);
    this.inRoom = false; // as far as it knows
    this.everJoined = false;
    this.arrived = () => {};
    this.leftOn = false;
    this.wasDropped = false;
    /** Publishes whose answer did not come. */
    this.unanswered = [];
    const transport = crowd.ways.transport?.(index) ?? common.transport;
    this.client = new Client(dialling(auth(index), { transport }));
    this.client.on('session', (session) => this.#arrived(session));
    this.client.on('message', ([event, offset], { receivedAt }) => {
      this.client.offsets[event.room] = offset;
      this.books.hear(this.member, event.data, offset, receivedAt);
    });
    this.client.on('gateway:gap', ([gap]) => this.member.gap(gap.through));
    this.client.on('disconnect', (reason, comesBack) => this.#lost(reason, comesBack));
  }

  publish(phase) {
    if (!this.inRoom || !this.client.connected || this.leftOn) return false;
    const entry = this.books.write(phase);
    if (this.crowd.send(this, entry, Date.now(), phase)) return true;
    this.books.refused(entry);
    return false;
  }

  cut() {
    if (this.everJoined) this.client.cut();
  }

  /** Waits for what it is owed, and goes. */
  async leave() {
    this.leftOn = true;
    if (!this.everJoined) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, JOIN_PATIENCE_MS);
        this.arrived = () => { clearTimeout(timer); resolve(undefined); };
      });
    }
    if (this.everJoined) {
      await this.books.leave(this.member);
      metrics.dropped.add(this.wasDropped);
    } else {
      metrics.joined.add(false);
      this.member.gone();
    }
    this.inRoom = false;
    this.client.close();
  }

  #arrived(session) {
    if (session.recovered) {
      this.#again();
      return;
    }
    this.inRoom = false;
    const { room } = this.books;
    this.client.emit('join', [{ room }], (error, [ack]) => {
      if (error) return; // it comes back, and tries again
      if (!ack.ok) {
        metrics.refused.add(1, { code: ack.error.code });
        console.error(`join of ${room} refused: ${ack.error.code}, ${ack.error.message}`);
        this.arrived();
        return;
      }
      if (!this.everJoined) metrics.joined.add(true);
      this.everJoined = true;
      this.arrived();
      this.client.offsets[room] = ack.offset;
      this.member.joined(ack.offset);
      // An anonymous session that began anew is somebody else to the gateway, and its ids are, too.
      this.#again(MANY);
    });
  }

  /** It is in its room: what was not answered is sent once more, under its id. */
  #again(resend = true) {
    this.inRoom = true;
    if (resend) this.retry();
    else this.unanswered = [];
  }

  /** Sends what was not answered once more, where there is a connection: who comes back to its session tries again by itself. */
  retry() {
    if (!this.inRoom || !this.client.connected) return;
    for (const { entry, sentAt, phase } of this.unanswered.splice(0)) {
      if (!this.crowd.send(this, entry, sentAt, phase)) this.unanswered.push({ entry, sentAt, phase });
    }
  }

  #lost(reason, comesBack) {
    this.inRoom = false;
    if (reason === 'cut' || reason === 'io_client_disconnect') return;
    if (this.everJoined) this.wasDropped = true;
    if (comesBack) return;
    console.error(`client ${this.member.name} does not come back: ${reason}`);
    this.arrived();
  }
}

/** Unlike k6's sleep(), lets the sockets of this virtual user go on. */
export function pause(ms) {
  return new Promise((resolve) => { setTimeout(resolve, ms); });
}
