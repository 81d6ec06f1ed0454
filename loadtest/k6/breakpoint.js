// Breakpoint: more and more publishes, step by step, until deliveries are late, refused or do not happen. Where is that, and what
// gave in: the gateway, or this program?
//
//   k6 run breakpoint.js
//   k6 run -e RATE=200 -e STEP_RATE=200 -e MAX_RATE=2000 -e AT_LEAST=600 breakpoint.js
//
// The first virtual user that finds a step broken tells the others through the gateway, and all stop. The run fails if that was
// below AT_LEAST, or if something was lost.
import { Counter, Gauge } from 'k6/metrics';
import { Client } from './lib/client.js';
import { Crowd, crowdOptions, crowdSettings } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight } from './lib/preflight.js';
import { common, dialling, number, refuse } from './lib/settings.js';
import { summary } from './lib/summary.js';
import { auth } from './lib/users.js';

const settings = crowdSettings({ rate: 100 });
const { clients, rate, rampSeconds, roomSize, vus } = settings;
const STEP_RATE = number('STEP_RATE', rate);
const STEP_SECONDS = number('STEP_SECONDS', 10);
const MAX_RATE = number('MAX_RATE', rate * 10);
const AT_LEAST = number('AT_LEAST', rate); // the rate that has to be held
const REFUSED_SHARE = 0.01; // of a step's publishes, that makes it broken
const LAG_P99_MS = number('LAG_P99_MS', 50); // of this program's own timers, beyond which it is no judge any more

if (MAX_RATE < rate) refuse(`MAX_RATE (${MAX_RATE}) must be at least RATE (${rate})`);
if (AT_LEAST > MAX_RATE) refuse(`AT_LEAST (${AT_LEAST}) must be at most MAX_RATE (${MAX_RATE})`);

const rates = Array.from({ length: Math.floor((MAX_RATE - rate) / STEP_RATE) + 1 }, (_, n) => rate + n * STEP_RATE);
const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  ...rates.map((one) => ({ name: `at ${one}`, seconds: STEP_SECONDS, clients, rate: one, step: true })),
]);

const held = new Gauge('breakpoint_held_rate'); // publishes per second, of all virtual users together
const broke = new Gauge('breakpoint_broke_rate');
const early = new Counter('breakpoint_too_early'); // broken below AT_LEAST
const byGenerator = new Counter('breakpoint_by_generator'); // broken steps in which this program was late itself
const late = new Gauge('breakpoint_p99'); // of publishes until their acks, in the step that broke; in milliseconds

const base = crowdOptions('breakpoint', plan, settings, {
  breakpoint_too_early: ['count==0'],
  breakpoint_held_rate: ['value>0'],
});
// Beyond the breakpoint acks are late and connections may be closed: that is what is looked for.
delete base.thresholds['sio_ack_success{event:publish}'];
delete base.thresholds.rooms_dropped;
export const options = base;

export const setup = () => preflight(plan);
export const handleSummary = summary('breakpoint', (values) => {
  const [best, worst, generator] = [values('breakpoint_held_rate'), values('breakpoint_broke_rate'), values('breakpoint_by_generator')];
  if (!best) return ['no step came to its end'];
  const deliveries = (one) => `${one} publishes/s, ${one * roomSize} deliveries/s`;
  const lines = [`held: ${deliveries(best.min)}`];
  if (!worst) return lines.concat(`not broken up to MAX_RATE (${MAX_RATE})`);
  lines.push(`broken: ${deliveries(worst.min)}, p99 of an ack ${values('breakpoint_p99').max.toFixed(0)} ms`);
  if (generator?.count > 0) {
    lines.push(`k6 itself was late in that step (generator_lag p99 above ${LAG_P99_MS} ms): the gateway may hold more. Give k6 more cores, `
      + 'or use loadtest/swarm');
  }
  return lines;
});

export default async function (start) {
  const room = `breakpoint-${start.run}`;
  const client = new Client(dialling(auth(0)));
  let best = 0;
  const crowd = new Crowd(plan, settings, start, {
    after: (stage, stats) => {
      if (stage.name === 'ramp') return false;
      const verdict = judge(stats);
      if (!verdict.broken) {
        best = stage.rate;
        return false;
      }
      console.warn(`${stage.name}: ${verdict.words}`);
      broke.add(stage.rate);
      late.add(verdict.p99);
      if (verdict.lag > LAG_P99_MS) byGenerator.add(1);
      if (stage.rate <= AT_LEAST) early.add(1);
      client.emit('signal', [{ room, event: 'stop', data: null }]);
      return true;
    },
  });
  client.on('session', ({ recovered }) => {
    if (!recovered) client.emit('join', [{ room }], () => {});
  });
  client.on('stop', () => crowd.stop());
  await crowd.run();
  held.add(best);
  client.close();
}

/** Whether a step was held, as one virtual user saw it. */
function judge({ latencies, lags, published, refused, skipped, stage }) {
  const expected = (stage.rate / vus) * stage.seconds;
  const [p99, lag] = [quantile(latencies, 0.99), quantile(lags, 0.99)].map(Math.ceil);
  const reasons = [];
  if (p99 > common.ackP99Ms) reasons.push(`p99 of an ack ${p99} ms`);
  if (refused > expected * REFUSED_SHARE) reasons.push(`${refused} refused`);
  if (skipped > expected * REFUSED_SHARE) reasons.push(`${skipped} could not be sent`);
  // What was published in its last moments is acked in the next step.
  if (published < expected * 0.9 - 2) reasons.push(`${published} acked of ${Math.round(expected)}`);
  return { broken: reasons.length > 0, words: `${reasons.join(', ')}; k6's timers late by p99 ${lag} ms`, p99, lag };
}

function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length === 0 ? 0 : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];
}
