// The books of one room: what was published, who was to hear it, and who did, over any number of reconnects.
//
// All members of a room belong to one virtual user, so nothing has to be guessed. A member is owed every event that was
// acknowledged, or that any other member heard, if its offset is after that of the member's join. Whatever it has not got when it
// leaves, after a patience, is lost. If the gateway said that something is missing (a session that could not be recovered, a
// gap), what is missing there counts as missed instead: not in silence, but not delivered either.
import { Counter, Rate, Trend } from 'k6/metrics';
import { follows } from './offsets.js';
import { number } from './settings.js';

const metrics = {
  fanout: new Trend('rooms_fanout_duration', true), // publish until a member has it; tagged phase=...
  delivered: new Counter('rooms_delivered'),
  lost: new Counter('rooms_lost'),
  missed: new Counter('rooms_missed'),
  duplicated: new Counter('rooms_duplicated'),
  disordered: new Counter('rooms_disordered'),
  contradicted: new Counter('rooms_contradicted'), // other offsets than somebody else was told, or heard though refused
  settled: new Rate('rooms_settled'), // one sample per member that left: had it got everything?
};

const PATIENCE_MS = number('PATIENCE_SECONDS', 10) * 1000; // of who leaves, for what it is owed
const TOLD = 5; // findings of each room that are told in words

/** Says that nothing was found yet: in Prometheus what was never counted is not 0 but absent. */
export function nothingYet() {
  for (const name of ['delivered', 'lost', 'missed', 'duplicated', 'disordered', 'contradicted']) metrics[name].add(0);
}

/**
 * @typedef {object} Entry
 * @property {number} n
 * @property {string} phase of the run in which it was published
 * @property {string | null} offset
 * @property {boolean} acked
 * @property {Set<Member>} heard
 */

export class Books {
  /** @param {string} room */
  constructor(room) {
    this.room = room;
    /** @type {Map<number, Entry>} */
    this.entries = new Map(); // that are not settled
    this.refusals = new Set();
    /** @type {Set<Member>} */
    this.members = new Set();
    this.next = 0;
    this.told = 0;
  }

  /** A publish that is about to be sent. */
  write(phase) {
    const entry = { n: this.next++, phase, offset: null, acked: false, heard: new Set() };
    this.entries.set(entry.n, entry);
    return entry;
  }

  acked(entry, offset) {
    if (entry.offset !== null && entry.offset !== offset) this.#find('contradicted', `${entry.n}: acked ${offset}, heard ${entry.offset}`);
    entry.offset = offset;
    entry.acked = true;
    if (entry.heard.size >= this.members.size) this.#close(entry);
  }

  /** It is not in the log, says the gateway. */
  refused(entry) {
    if (entry.heard.size > 0) this.#find('contradicted', `${entry.n}: refused, and heard`);
    this.refusals.add(entry.n);
    this.entries.delete(entry.n);
  }

  /** Settles what time has settled: members that were not owed something hear nothing that would tell. */
  sweep() {
    for (const entry of this.entries.values()) if (entry.acked) this.#close(entry);
  }

  /**
   * @param {Member} member
   * @param {{ n: number, sentAt: number, phase: string }} data
   * @param {string} offset
   * @param {number} receivedAt
   */
  hear(member, data, offset, receivedAt) {
    if (member.gapFrom !== null) {
      member.excuses.push([member.gapFrom, offset]);
      member.gapFrom = null;
    }
    const entry = member.due?.get(data.n) ?? this.entries.get(data.n);
    if (!entry) {
      // Settled: everybody who was to hear it has. Who leaves may not have been among them.
      if (this.refusals.has(data.n)) this.#find('contradicted', `${data.n}: refused, and heard`);
      else if (!member.due) this.#find('duplicated', `${data.n} at ${offset}, by ${member.name}`);
      return;
    }
    if (entry.heard.has(member)) {
      this.#find('duplicated', `${data.n} at ${offset}, by ${member.name}`);
      return;
    }
    metrics.delivered.add(1);
    metrics.fanout.add(Math.max(0, receivedAt - data.sentAt), { phase: data.phase });
    if (entry.offset !== null && entry.offset !== offset) this.#find('contradicted', `${data.n}: ${entry.offset} and ${offset}`);
    entry.offset ??= offset;
    if (follows(offset, member.newest)) member.newest = offset;
    else this.#find('disordered', `${offset} after ${member.newest}, by ${member.name}`);
    entry.heard.add(member);
    if (member.due?.delete(data.n) && member.due.size === 0) member.settle();
    if (entry.acked && entry.heard.size >= this.members.size) this.#close(entry);
  }

  /**
   * Waits until a member that is about to leave has what it is owed by now, and settles its account.
   * @param {Member} member
   * @param {number} [patienceMs]
   */
  async leave(member, patienceMs = PATIENCE_MS) {
    this.members.delete(member);
    member.due = new Map();
    for (const entry of this.entries.values()) {
      if (entry.offset !== null && member.isOwed(entry)) member.due.set(entry.n, entry);
    }
    if (member.due.size > 0) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, patienceMs);
        member.settle = () => { clearTimeout(timer); resolve(undefined); };
      });
    }
    let complete = true;
    for (const entry of member.due.values()) {
      complete = false;
      if (member.isExcused(entry)) metrics.missed.add(1);
      else this.#find('lost', `${entry.n} at ${entry.offset}, by ${member.name}, who heard up to ${member.newest}`);
    }
    metrics.settled.add(complete);
    this.sweep();
  }

  /** Takes an event out of the books if all that are owed it have it, or were told that they have not. */
  #close(entry) {
    const told = [];
    for (const member of this.members) {
      if (entry.heard.has(member)) continue;
      if (member.from === null) return; // its join is not answered yet
      if (!member.isOwed(entry)) continue;
      if (!member.isExcused(entry)) return;
      told.push(member);
    }
    for (const member of told) {
      metrics.missed.add(1);
      entry.heard.add(member);
    }
    this.entries.delete(entry.n);
  }

  #find(what, words) {
    metrics[what].add(1);
    if (this.told++ < TOLD) console.error(`${what}: ${this.room} ${words}`);
  }
}

/** What one member of a room is owed, and was told. */
export class Member {
  /**
   * @param {string} name
   * @param {Books} books
   */
  constructor(name, books) {
    this.name = name;
    this.books = books;
    /** From which offset on it is owed; null until its join is answered. */
    this.from = null;
    this.newest = '';
    /** Between which offsets it was told that something may be missing. */
    this.excuses = [];
    this.gapFrom = null;
    /** @type {Map<number, Entry> | null} */
    this.due = null; // what it still waits for, as soon as it is about to leave
    this.settle = () => {};
    books.members.add(this);
  }

  /**
   * Its join was answered. The second time it was in no room, and was told so: what lies between is excused.
   * @param {string} offset
   */
  joined(offset) {
    if (this.from === null) {
      this.from = offset;
      return;
    }
    this.excuses.push([this.newest || this.from, offset]);
    if (follows(offset, this.newest)) this.newest = offset;
  }

  /** `gateway:gap`: something is missing before the next event, and up to `through` between them. */
  gap(through) {
    this.gapFrom = this.newest || this.from || '';
    if (through) this.excuses.push([this.gapFrom, through]);
  }

  isOwed(entry) {
    return this.from !== null && follows(entry.offset, this.from) && !entry.heard.has(this);
  }

  isExcused({ offset }) {
    return this.excuses.some(([from, through]) => follows(offset, from) && !follows(offset, through))
      || (this.gapFrom !== null && follows(offset, this.gapFrom));
  }

  /** It never came in, or was thrown out before. */
  gone() {
    this.books.members.delete(this);
    this.books.sweep();
  }
}
