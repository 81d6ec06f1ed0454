// Spike: some clients are there, and of a sudden many times as many come, talk and go. Nobody is kept out, and who was there before
// is served all the while.
//
//   k6 run spike.js
//   k6 run -e CLIENTS=100 -e TIMES=10 -e SPIKE_SECONDS=5 spike.js      100 clients, 1,000 within 5 s
import { Crowd, crowdOptions, crowdSettings, latencies } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight } from './lib/preflight.js';
import { number } from './lib/settings.js';
import { summary } from './lib/summary.js';

const settings = crowdSettings({ clients: 100, holdSeconds: 10 });
const { clients, rate, rampSeconds, holdSeconds } = settings;
const TIMES = number('TIMES', 5);
const SPIKE_SECONDS = number('SPIKE_SECONDS', 3); // in which they come, and go
const PEAK_SECONDS = number('PEAK_SECONDS', 10);
const CONNECT_P99_MS = number('CONNECT_P99_MS', 2000);

const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  { name: 'before', seconds: holdSeconds, clients, rate, step: true },
  // The rate of each client stays what it is.
  { name: 'spike', seconds: SPIKE_SECONDS, clients: Math.round(clients * TIMES), rate: rate * TIMES },
  { name: 'peak', seconds: PEAK_SECONDS, clients: Math.round(clients * TIMES), rate: rate * TIMES },
  { name: 'fall', seconds: SPIKE_SECONDS, clients, rate },
  { name: 'after', seconds: holdSeconds, clients, rate, step: true },
]);

export const options = crowdOptions('spike', plan, settings, {
  ...latencies(['before', 'peak', 'after']),
  sio_connect_success: ['rate==1'],
  sio_connect_duration: [`p(99)<${CONNECT_P99_MS}`],
});

export const setup = () => preflight(plan);
export const handleSummary = summary('spike', (values) => {
  const connects = values('sio_connect_duration');
  return connects ? [`${Math.round(clients * (TIMES - 1))} more clients within ${SPIKE_SECONDS} s: p99 of a connect `
    + `${connects['p(99)'].toFixed(0)} ms`] : [];
});

export default async function (start) {
  await new Crowd(plan, settings, start).run();
}
