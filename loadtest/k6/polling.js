// Polling: clients without websockets, and clients that begin without, in the same rooms. Behind a load balancer this shows whether it
// keeps requests of one connection on one node.
//
//   k6 run polling.js
//   k6 run -e URL=http://127.0.0.1:8080 -e POLLING_SHARE=1 polling.js      nobody upgrades
import { Crowd, crowdOptions, crowdSettings, latencies } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight } from './lib/preflight.js';
import { number, refuse } from './lib/settings.js';
import { summary } from './lib/summary.js';

const settings = crowdSettings({ clients: 100 });
const { clients, rate, rampSeconds, holdSeconds, roomSize } = settings;
const POLLING_SHARE = number('POLLING_SHARE', 0.5, 0); // the others begin with polling, and upgrade
if (POLLING_SHARE > 1) refuse(`POLLING_SHARE must be at most 1, not ${POLLING_SHARE}`);

const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  { name: 'steady', seconds: holdSeconds, clients, rate, step: true },
]);

export const options = crowdOptions('polling', plan, settings, {
  ...latencies(['steady']),
  ...(POLLING_SHARE < 1 ? { sio_upgrade_success: ['rate==1'] } : {}),
  // An answer of 400 "Session ID unknown" is a request that came to another node than the one before.
  'http_req_failed{name:socket.io handshake}': ['rate==0'],
  'http_req_failed{name:socket.io poll}': ['rate==0'],
  'http_req_failed{name:socket.io post}': ['rate==0'],
});

export const setup = () => preflight(plan);
export const handleSummary = summary('polling', (values) => {
  const [upgrades, connects] = [values('sio_upgrade_success'), values('sio_connect_success')];
  return [`${connects?.passes ?? 0} connections, of which ${upgrades?.passes ?? 0} went over to a websocket`];
});

export default async function (start) {
  await new Crowd(plan, settings, start, {
    // By its place in a room, so that all rooms are mixed. Its number says its place: clients are dealt out one by one.
    transport: (index) => ((Math.floor(index / settings.vus) % roomSize) < POLLING_SHARE * roomSize ? 'polling' : 'upgrade'),
  }).run();
}
