// Reconnect storm: all lose their connection at once, again and again, while others go on publishing. Everybody comes back to the
// session that it had, and nobody has lost anything.
//
//   k6 run reconnect.js
//   k6 run -e RECOVERY=offsets reconnect.js       by the offsets of rooms, as clients that cannot do more
//   k6 run -e STORMS=0 -e HOLD_SECONDS=120 reconnect.js     cuts nobody: kill or drain nodes behind URL meanwhile
import { Crowd, crowdOptions, crowdSettings, latencies } from './lib/crowd.js';
import { Plan } from './lib/plan.js';
import { preflight } from './lib/preflight.js';
import { common, number, refuse, whole } from './lib/settings.js';
import { summary } from './lib/summary.js';

const STORMS = whole('STORMS', 3, 0);
const STORM_SECONDS = number('STORM_SECONDS', 8); // from one to the next
const ANCHORS = whole('ANCHORS', 1, 0); // members of each room that stay, and publish what the others miss
const settings = crowdSettings({ holdSeconds: STORMS > 0 ? STORM_SECONDS * (STORMS + 1) : 60 });
const { clients, rate, rampSeconds, holdSeconds, roomSize } = settings;
const RECONNECT_P99_MS = number('RECONNECT_P99_MS', 3000); // of it up to 1.5 s are the client's own delay
const RECOVERED = number('RECOVERED', 1, 0); // the share that has to come back to its session

if (ANCHORS >= roomSize) refuse(`ANCHORS (${ANCHORS}) must be less than ROOM_SIZE (${roomSize}), or nobody is cut`);
if (STORMS > 0 && STORM_SECONDS * STORMS >= holdSeconds) {
  refuse(`HOLD_SECONDS (${holdSeconds}) must be more than STORMS x STORM_SECONDS (${STORM_SECONDS * STORMS})`);
}

const plan = new Plan([
  { name: 'ramp', seconds: rampSeconds, clients, rate },
  { name: 'storms', seconds: holdSeconds, clients, rate, step: true },
  { name: 'after', seconds: Math.min(5, holdSeconds), clients, rate, step: true },
]);

const base = crowdOptions('reconnect', plan, settings, {
  ...latencies(['after']),
  sio_recovered: [`rate>=${RECOVERED}`],
  sio_reconnect_duration: [`p(99)<${RECONNECT_P99_MS}`],
  ...(STORMS > 0 ? { 'sio_disconnects{reason:cut}': [`count>0`] } : {}),
});
// Whoever is cut by others is meant to be.
if (STORMS === 0) delete base.thresholds.rooms_dropped;
// What was under way when its connection was cut was never answered on it.
delete base.thresholds['sio_ack_success{event:publish}'];
base.thresholds.rooms_unanswered = ['count==0'];
export const options = base;

export const setup = () => preflight({ handshakes: Math.max(plan.handshakes, STORMS > 0 ? clients : 0) });
export const handleSummary = summary('reconnect', (values) => {
  const [back, recovered] = [values('sio_reconnect_duration'), values('sio_recovered')];
  return back ? [`${back.count} comebacks by ${common.recovery}, ${(recovered.rate * 100).toFixed(1)} % of them to their session: half after `
    + `${(back.med / 1000).toFixed(2)} s, 99 % after ${(back['p(99)'] / 1000).toFixed(2)} s`] : ['nobody had to come back'];
});

export default async function (start) {
  await new Crowd(plan, settings, start, {
    storms: Array.from({ length: STORMS }, (_, n) => rampSeconds + STORM_SECONDS * (n + 1)),
    stays: (place) => place < ANCHORS,
  }).run();
}
