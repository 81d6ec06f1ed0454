// That the books find what is wrong: rooms to which one thing happens each, and how often it must be found.
//
//   k6 run tests/books.js      needs no gateway
import { Books, Member } from '../lib/books.js';
import { pause } from '../lib/crowd.js';

export const options = {
  scenarios: { books: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '60s' } },
  thresholds: {
    rooms_lost: ['count==6'],
    rooms_missed: ['count==4'],
    rooms_duplicated: ['count==3'],
    rooms_disordered: ['count==1'],
    rooms_contradicted: ['count==4'],
    rooms_delivered: ['count==50'],
    rooms_settled: ['rate>0', 'rate<1'],
  },
};

const PATIENCE_MS = 200;

let stages = 0;

/** A room in which what happens is written down as it happens. */
class Stage {
  /** @type {Member} */ ann;
  /** @type {Member} */ ben;
  /** @type {Member} */ cat;

  constructor(names = ['ann', 'ben']) {
    this.books = new Books(`stage-${stages++}`);
    this.offset = 100;
    for (const name of names) this.join(name);
  }

  join(name) {
    this[name] = new Member(name, this.books);
    this[name].joined(String(this.offset));
  }

  /** Is published, acked, and heard by these. */
  publish(...heardBy) {
    const entry = this.books.write('test');
    const offset = String(this.offset += 5);
    this.books.acked(entry, offset);
    for (const name of heardBy) this.hear(name, entry, offset);
    return { entry, offset };
  }

  hear(name, entry, offset) {
    this.books.hear(this[name], { n: entry.n, sentAt: Date.now(), phase: 'test' }, offset, Date.now());
  }

  /** All leave, so that everything is settled. */
  end(...names) {
    return Promise.all(names.map((name) => this.books.leave(this[name], PATIENCE_MS)));
  }
}

export default async function () {
  const ends = [];

  // Nothing is wrong: 6 deliveries. The offset's length grows on the way, and offsets are no numbers.
  const good = new Stage();
  good.offset = 990;
  for (let n = 0; n < 3; n++) good.publish('ann', 'ben');
  ends.push(good.end('ann', 'ben'));

  // One in the middle, and the last one: 2 lost, 4 delivered. Nobody publishes after the last one, which must not hide it.
  const hole = new Stage();
  hole.publish('ann', 'ben');
  hole.publish('ann');
  hole.publish('ann');
  ends.push(hole.end('ann', 'ben'));

  // Nobody heard what was acked: 2 lost.
  const silent = new Stage();
  silent.publish();
  ends.push(silent.end('ann', 'ben'));

  // No ack came, but another member heard it, so it is in the log: 1 lost, 1 delivered. What nobody heard nobody is owed.
  const unanswered = new Stage();
  unanswered.hear('ann', unanswered.books.write('test'), '105');
  unanswered.books.write('test');
  ends.push(unanswered.end('ann', 'ben'));

  // Twice: at once, later when it is settled, and of who is not owed it: 3 duplicated, 6 delivered.
  const twice = new Stage();
  const first = twice.publish('ann');
  twice.hear('ann', first.entry, first.offset);
  twice.hear('ben', first.entry, first.offset);
  twice.publish('ann', 'ben');
  twice.hear('ben', first.entry, first.offset);
  const third = twice.publish('ann', 'ben');
  twice.join('cat');
  twice.hear('cat', third.entry, third.offset);
  ends.push(twice.end('ann', 'ben', 'cat'));

  // The second before the first: 1 out of order, 4 delivered.
  const order = new Stage();
  const [one, two] = [order.publish('ann'), order.publish('ann')];
  order.hear('ben', two.entry, two.offset);
  order.hear('ben', one.entry, one.offset);
  ends.push(order.end('ann', 'ben'));

  // Refused and heard, heard and then refused, two offsets for one, another offset than the ack's: 4 contradictions, 4 delivered.
  const contrary = new Stage();
  const refused = contrary.books.write('test');
  contrary.books.refused(refused);
  contrary.hear('ann', refused, '101');
  const late = contrary.books.write('test');
  contrary.hear('ann', late, '102');
  contrary.books.refused(late);
  const unlike = contrary.books.write('test');
  contrary.hear('ann', unlike, '103');
  contrary.hear('ben', unlike, '104');
  contrary.books.acked(unlike, '103');
  const other = contrary.books.write('test');
  contrary.hear('ann', other, '110');
  contrary.books.acked(other, '109');
  ends.push(contrary.end('ann'));
  contrary.ben.gone();

  // Ben was away and his session was not recovered, as he was told: 2 missed, not lost, 6 delivered. Before and after counts.
  const told = new Stage();
  told.publish('ann', 'ben');
  told.publish('ann');
  told.publish('ann');
  told.ben.joined(String(told.offset));
  told.publish('ann', 'ben');
  ends.push(told.end('ann', 'ben'));

  // The same without a word: 1 lost, 5 delivered.
  const untold = new Stage();
  untold.publish('ann', 'ben');
  untold.publish('ann');
  untold.publish('ann', 'ben');
  ends.push(untold.end('ann', 'ben'));

  // A gap that is told: what lies before the next event is missed, what lies after it is not excused: 1 missed, 5 delivered, and
  // with `through` up to there, also behind an event that came: 1 missed, 5 delivered.
  const gap = new Stage();
  gap.publish('ann', 'ben');
  gap.ben.gap();
  gap.publish('ann');
  gap.publish('ann', 'ben');
  const behind = new Stage();
  behind.ben.gap('115');
  behind.publish('ann', 'ben');
  behind.publish('ann');
  behind.publish('ann', 'ben');
  ends.push(gap.end('ann', 'ben'), behind.end('ann', 'ben'));

  // Who joins later is not owed what was before; who leaves is owed what was acked by then, and may get it late: 4 delivered.
  const comings = new Stage(['ann']);
  comings.publish('ann');
  comings.join('ben');
  const owed = comings.publish('ann');
  const leaving = comings.end('ben');
  comings.publish('ann');
  comings.hear('ben', owed.entry, owed.offset);
  ends.push(leaving.then(() => comings.end('ann')));

  await pause(0);
  await Promise.all(ends);
}
