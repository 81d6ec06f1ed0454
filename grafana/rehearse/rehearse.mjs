// Plays runbooks through: brings about what an alert is for, sees it fire in a real Prometheus, types the commands of its section as they
// stand in docs/runbooks.md, mends, and sees it end.
//
//   node rehearse.mjs [ALERT...]     all that there are cases for, or these; exits with 1 if one is not as its runbook says
//
// The times of the rules are shortened, see rules.mjs; what they ask and their limits are not. An hour is a minute.

import { cases } from './cases/all.mjs';
import { isQuery, runbooks, type } from './runbook.mjs';
import { Stage, delay, eventually } from './stage.mjs';

const FACTOR = 60;
const FIRES_MS = 90_000;
const ENDS_MS = 120_000;
// What tells somebody to do something may have no answer.
const ORDER = /^(operator -X|prlimit) /;
const wanted = process.argv.slice(2);
const say = (what) => console.error(what);

const unknown = wanted.filter((name) => !cases.some(({ alert }) => alert === name));
if (unknown.length > 0) {
  say(`no case is called ${unknown.join(', ')}; there are ${cases.map(({ alert }) => alert).join(', ')}`);
  process.exit(64);
}

/** Types a command, and says what is wrong with it or with what it shows. */
async function typed(stage, book, one, command, faults) {
  if (isQuery(command)) {
    const series = await stage.prometheus.instant(command, Date.now() / 1000);
    if (series.length === 0) faults.push(`\`${command}\` has no answer`);
    return '';
  }
  const answer = await type(book.preamble, command, stage.variables(one.at?.(stage)), await one.fills?.(stage));
  const [, shows] = Object.entries(one.shows ?? {}).find(([begins]) => command.startsWith(begins)) ?? [];
  const said = `${answer.said}${answer.complained}`;
  if (shows) {
    if (!shows.test(said)) faults.push(`\`${command}\` does not show ${shows}: ${said.slice(0, 500)}`);
  } else if (answer.code !== 0) {
    faults.push(`\`${command}\` ends with ${answer.code}: ${said.slice(0, 300)}`);
  } else if ((said === '' && !ORDER.test(command)) || /^\(error\)|^ERR /m.test(said)) {
    faults.push(`\`${command}\` shows nothing of use: ${said.slice(0, 300)}`);
  }
  return said;
}

async function play(stage, book, one) {
  const faults = [];
  const section = book.sections.get(one.alert);
  if (!section) return { faults: ['it has no section'] };
  const begun = Date.now();
  const seconds = () => Math.round((Date.now() - begun) / 1000);
  // The command of a section that begins so: what is not there any more has been rewritten without its case.
  const follows = async (begins) => {
    const command = [...section.look, ...section.act].find((command) => command.startsWith(begins));
    if (!command) return faults.push(`its section has no command that begins with ${begins}`);
    return typed(stage, book, one, command, faults);
  };
  let after, mended;
  // What a fault is ended by has to run whatever happens, or the next case begins on a broken stage.
  let end = async () => {};
  try {
    await eventually('it is silent at first', async () => !(await stage.fires(one.alert)), ENDS_MS);
    end = (await one.begin(stage)) ?? end;
    await eventually('it fires', () => stage.fires(one.alert), FIRES_MS);
    after = seconds();
    for (const command of section.look) await typed(stage, book, one, command, faults);
    await one.look?.(stage, { follows, check: (ok, what) => ok || faults.push(what) });
  } catch (error) {
    faults.push(error.message);
  }
  try {
    await one.act?.(stage, { follows });
    await end();
    mended = seconds();
    await eventually('it ends', async () => !(await stage.fires(one.alert)), ENDS_MS);
  } catch (error) {
    faults.push(error.message);
  }
  return { faults, after, ends: seconds() - mended };
}

const book = await runbooks();
let failed = 0;
let stage;
const stop = (signal) => (stage?.strike() ?? Promise.resolve()).finally(() => process.exit(signal === 'SIGINT' ? 130 : 143));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, stop);
const asked = cases.filter(({ alert }) => wanted.length === 0 || wanted.includes(alert));
try {
  stage = await Stage.build(FACTOR);
  // What a rate is of has to have been seen for a while.
  await delay(8000);
  for (const one of asked) {
    const { faults, after, ends } = await play(stage, book, one);
    say(faults.length === 0 ? `ok ${one.alert}: fires after ${after} s, ends ${ends} s after it was mended` : `NOT ${one.alert}`);
    for (const fault of faults) say(`  ${fault}`);
    if (faults.length > 0) say(`  firing: ${(await stage.firing()).join(', ')}`);
    failed += faults.length > 0;
  }
} finally {
  await stage?.strike();
}
say(failed === 0 ? 'all went as their runbooks say' : `${failed} did not go as their runbooks say`);
process.exit(failed === 0 ? 0 : 1);
