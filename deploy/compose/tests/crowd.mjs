// A crowd of official clients that hear numbered events while nodes come and go, and count what they miss. Says "ready" when all
// are there, and what they heard, as a line of JSON, after its standard input has ended.
//   node crowd.mjs URL CLIENTS ROOMS EVENTS_PER_SECOND

import { once } from 'node:events';

import { Crowd, Speaker } from '../../../loadtest/flaky/crowd.mjs';

const [url, ...numbers] = process.argv.slice(2);
const [clients, rooms, eventsPerSecond] = numbers.map(Number);

const crowd = await Crowd.start({ url, rooms, clients, workers: clients > 100 ? 2 : 1, connectsPerSecond: 100 });
const speaker = await Speaker.start({ url, rooms, eventsPerSecond });
console.log('ready');

process.stdin.resume();
await once(process.stdin, 'end');

await crowd.settled();
await speaker.end();
await crowd.finished();
const audits = await crowd.audit(speaker.counts);
const sum = (key) => audits.reduce((total, audit) => total + audit[key], 0);
const findings = ['expected', 'lost', 'doubled', 'reordered', 'reconnects', 'recovered'].map((key) => [key, sum(key)]);
console.log(JSON.stringify({ clients, ...Object.fromEntries(findings) }));
crowd.stop();
speaker.stop();
