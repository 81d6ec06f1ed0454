// Load: as many clients and publishes as are expected, for a while. Is it right, and fast enough?
//
//   k6 run load.js
//   k6 run -e URL=http://127.0.0.1:8080 -e CLIENTS=1000 -e VUS=20 -e RATE=200 load.js
import { Crowd, crowdOptions, crowdSettings, latencies } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight } from './lib/preflight.js';
import { summary } from './lib/summary.js';

const settings = crowdSettings();
const { clients, rate, rampSeconds, holdSeconds } = settings;
const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  { name: 'steady', seconds: holdSeconds, clients, rate, step: true },
]);

export const options = crowdOptions('load', plan, settings, {
  ...latencies(['steady']),
  'rooms_skipped{phase:steady}': [`count<=${Math.ceil(rate * holdSeconds * 0.01)}`], // or it was another load than was asked for
});

export const setup = () => preflight(plan);
export const handleSummary = summary('load');

export default async function (start) {
  await new Crowd(plan, settings, start).run();
}
