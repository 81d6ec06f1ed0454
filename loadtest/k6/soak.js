// Soak: an ordinary load for hours. What leaks, fills up or wears out shows here, and nowhere else.
//
//   k6 run -e ADMIN_URL=http://127.0.0.1:9100 -e HOLD_SECONDS=14400 soak.js
//
// It looks at the memory of every node, so it needs their admin listeners: several ones with commas between them.
import exec from 'k6/execution';
import http from 'k6/http';
import { Gauge, Rate } from 'k6/metrics';
import { Crowd, crowdOptions, crowdSettings, latencies } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight, stop } from './lib/preflight.js';
import { needed, number } from './lib/settings.js';
import { summary } from './lib/summary.js';

const ADMIN_URLS = needed('ADMIN_URL', 'soak judges the memory of the nodes, which their admin listeners tell (/metrics). '
  + 'Give it as http://host:9100, several with commas between them').split(',').map((one) => one.trim().replace(/\/$/, ''));
const settings = crowdSettings({ clients: 100, holdSeconds: 600 });
const { clients, rate, rampSeconds, holdSeconds } = settings;
// Room for what is to grow in the first half: the rooms' logs, until they have log.room_events.
const GROWTH_PERCENT = number('GROWTH_PERCENT', 20, 0);
const GROWTH_MIB = number('GROWTH_MIB', 8, 0); // of a small process, a fifth is little
const LOOK_SECONDS = number('LOOK_SECONDS', 5);

const memory = new Gauge('soak_resident_bytes'); // tagged node=...
const growth = new Gauge('soak_growth_percent'); // of the second half's end over its beginning; tagged node=...
const grown = new Gauge('soak_growth_mib');
const within = new Rate('soak_memory_within_bounds'); // one sample for each node
const looks = new Rate('soak_looks'); // whether a node answered

const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  { name: 'early', seconds: holdSeconds / 2, clients, rate, step: true },
  { name: 'late', seconds: holdSeconds / 2, clients, rate, step: true },
]);

const crowd = crowdOptions('soak', plan, settings, {
  ...latencies(['early', 'late']),
  soak_memory_within_bounds: ['rate==1'],
  soak_looks: ['rate>0.99'],
});
export const options = {
  ...crowd,
  scenarios: {
    ...crowd.scenarios,
    memory: { executor: 'per-vu-iterations', vus: 1, iterations: 1, exec: 'watch', maxDuration: crowd.scenarios.soak.maxDuration },
  },
};

export function setup() {
  for (const admin of ADMIN_URLS) {
    if (resident(admin) === null) stop(`${admin}/metrics does not tell process_resident_memory_bytes: is ADMIN_URL an admin listener?`);
  }
  return preflight(plan);
}

export const handleSummary = summary('soak', (values) => {
  const [percent, mib] = [values('soak_growth_percent'), values('soak_growth_mib')];
  return percent ? [`memory in the second half: ${percent.max.toFixed(1)} % more at its end, ${mib.max.toFixed(1)} MiB, `
    + 'of the node that grew most'] : ['the memory was not looked at often enough'];
});

export default async function (start) {
  await new Crowd(plan, settings, start).run();
}

/** Looks at each node's memory until the plan is over. */
export async function watch({ startedAt }) {
  const seen = ADMIN_URLS.map(() => []);
  const half = startedAt + (rampSeconds + holdSeconds / 2) * 1000;
  const end = startedAt + plan.seconds * 1000;
  while (Date.now() < end) {
    ADMIN_URLS.forEach((admin, node) => {
      const bytes = resident(admin);
      looks.add(bytes !== null);
      if (bytes === null) return;
      memory.add(bytes, { node: String(node) });
      if (Date.now() >= half) seen[node].push(bytes);
    });
    await new Promise((resolve) => { setTimeout(resolve, LOOK_SECONDS * 1000); });
  }
  seen.forEach((bytes, node) => {
    const quarter = Math.ceil(bytes.length / 4);
    if (bytes.length < 4) exec.test.abort(`HOLD_SECONDS=${holdSeconds} is too short for a look every LOOK_SECONDS=${LOOK_SECONDS}`);
    const [before, after] = [middle(bytes.slice(0, quarter)), middle(bytes.slice(-quarter))];
    const percent = ((after - before) / before) * 100;
    const mib = (after - before) / 2 ** 20;
    growth.add(percent, { node: String(node) });
    grown.add(mib, { node: String(node) });
    within.add(percent <= GROWTH_PERCENT || mib <= GROWTH_MIB);
  });
}

/** The memory of a node in bytes, or null. */
function resident(admin) {
  const answer = http.get(`${admin}/metrics`, { tags: { name: 'metrics' }, timeout: '5s' });
  const found = /^process_resident_memory_bytes (\S+)$/m.exec(String(answer.body));
  return answer.status === 200 && found ? Number(found[1]) : null;
}

function middle(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}
