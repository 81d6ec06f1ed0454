// The alert rules with their times shortened, so that what takes an hour is over in a minute. What they ask and the limits are the same.

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };
const rules = path.resolve(import.meta.dirname, '../rules');
// A rate needs some scrapes, and what is to last must not be a single one.
const LEAST_WINDOW_S = 6;
const LEAST_FOR_S = 2;

/** A time as Prometheus writes it, so many times shorter. */
function shortened(time, factor, least) {
  const [, number, unit] = time.match(/^(\d+)([smhd])$/);
  return Math.max(least, Math.round((Number(number) * SECONDS[unit]) / factor));
}

/** The text of a rule file with windows, `for`, `offset` and evaluation intervals that are `factor` times shorter. */
export function shorten(text, factor) {
  const window = (time) => shortened(time, factor, LEAST_WINDOW_S);
  return text
    .replace(/^( *for: )(\d+[smhd])$/gm, (_, before, time) => `${before}${shortened(time, factor, LEAST_FOR_S)}s`)
    .replace(/^( *interval: )\d+[smhd]$/gm, '$11s')
    // A rate over a window times its length is a number of things; the number stays as it is.
    .replace(/\[(\d+[smhd])\](\) \* \d{4,})?/g, (_, time, counted) => `[${window(time)}s]${counted ? `) * ${window(time)}` : ''}`)
    .replace(/offset (\d+[smhd])/g, (_, time) => `offset ${window(time)}s`)
    // Ages in seconds.
    .replace(/(_seconds\)) > 300$/gm, (_, before) => `${before} > ${window('5m')}`);
}

/** Writes shortened rules into a folder, which is returned. */
export async function shortRules(folder, factor) {
  const target = path.join(folder, 'rules');
  await mkdir(target, { recursive: true });
  for (const name of (await readdir(rules)).filter((name) => name.endsWith('.rules.yml'))) {
    await writeFile(path.join(target, name), shorten(await readFile(path.join(rules, name), 'utf8'), factor));
  }
  return target;
}
