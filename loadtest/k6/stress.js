// Stress: far more than is expected, in steps, and back. It may become slower on the way up; it may break nothing, and has to be as
// fast as before when it is over.
//
//   k6 run stress.js
//   k6 run -e RATE=100 -e STEPS=4 -e STEP_SECONDS=30 stress.js      100, 200, 300, 400 and 100 publishes/s again
import { Crowd, crowdOptions, crowdSettings, latencies } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight } from './lib/preflight.js';
import { number, whole } from './lib/settings.js';
import { summary } from './lib/summary.js';

const settings = crowdSettings({ holdSeconds: 15 });
const { clients, rate, rampSeconds, holdSeconds } = settings;
const STEPS = whole('STEPS', 4, 2);
const STEP_SECONDS = number('STEP_SECONDS', 10);
const REST_SECONDS = number('REST_SECONDS', 5); // after the last step, before it has to be fast again

const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  { name: 'before', seconds: holdSeconds, clients, rate, step: true },
  ...Array.from({ length: STEPS - 1 }, (_, n) =>
    ({ name: `x${n + 2}`, seconds: STEP_SECONDS, clients, rate: rate * (n + 2), step: true })),
  { name: 'rest', seconds: REST_SECONDS, clients, rate, step: true },
  { name: 'after', seconds: holdSeconds, clients, rate, step: true },
]);

export const options = crowdOptions('stress', plan, settings, {
  ...latencies(['before', 'after']),
  // Nothing but how fast they are, to have them in the results.
  ...Object.fromEntries(plan.phases.filter((phase) => phase.startsWith('x'))
    .map((phase) => [`rooms_fanout_duration{phase:${phase}}`, ['p(99)>=0']])),
});

export const setup = () => preflight(plan);
export const handleSummary = summary('stress', (values) => plan.phases.filter((phase) => phase.startsWith('x')).map((phase) => {
  const measured = values(`rooms_fanout_duration{phase:${phase}}`);
  return measured?.count > 0
    ? `at ${rate * Number(phase.slice(1))} publishes/s: p99 of a delivery ${measured['p(99)'].toFixed(1)} ms, of ${measured.count}`
    : `${phase}: nothing was delivered`;
}));

export default async function (start) {
  await new Crowd(plan, settings, start).run();
}
