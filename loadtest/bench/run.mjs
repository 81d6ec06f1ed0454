// Measures the gateway beside npm's socket.io and the floor, and prints one table. README.md says how to read it.

import { parseArgs } from 'node:util';

import { median } from './numbers.mjs';
import { ROWS } from './rows.mjs';
import { servers } from './servers.mjs';

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    connections: { type: 'string', default: '5000' },
    handshakes: { type: 'string', default: '20000' },
    runs: { type: 'string', default: '' },
    rows: { type: 'string', default: '' },
    before: { type: 'string', default: '' },
  },
});
const settings = {
  seconds: Number(options.seconds),
  connections: Number(options.connections),
  handshakes: Number(options.handshakes),
};
const wanted = options.rows.split(/[\s,]+/).filter(Boolean).map(Number);
const rows = wanted.length ? ROWS.filter(({ row }) => wanted.includes(row)) : ROWS;
const known = servers(options.before);

const failures = [];

/**
 * Measures a row's parts on all their servers by turns, so that what the machine does otherwise hits them alike, and every
 * other run backwards: whichever of two gateways came after the other was 2 to 7 % cheaper. For each part: what each
 * server's runs found.
 */
async function measured({ row, title, parts }, runs) {
  const none = (names) => Object.fromEntries(names.filter((name) => known[name]).map((name) => [name, []]));
  const found = parts.map((part) => none(part.servers));
  for (let run = 1; run <= runs; run++) {
    for (const [index, part] of parts.entries()) {
      const names = Object.keys(found[index]);
      for (const name of run % 2 ? names : names.toReversed()) {
        const label = `${row}. ${title}, ${part.lines[0][1]}, run ${run} of ${runs}: ${name}`;
        try {
          const { values, failures: broken } = await part.measure(known[name], settings);
          console.error(`${label}: ${JSON.stringify(values)} ${broken}`);
          found[index][name].push(values);
          // What others promise is theirs to keep: npm's socket.io, for one, has no order between nodes.
          if (name === 'gateway') failures.push(...broken.map((failure) => `${label}: ${failure}`));
        } catch (error) {
          failures.push(`${label}: ${error.message}`);
          console.error(failures.at(-1));
        }
      }
    }
  }
  return found;
}

const COLUMNS = ['floor', 'node', 'gateway', ...(options.before ? ['before'] : [])];
const TITLES = { floor: 'floor', node: 'socket.io on Node', gateway: 'gateway', before: 'gateway before' };

const lines = [];
const began = performance.now();
for (const row of rows) {
  const found = await measured(row, Number(options.runs) || row.runs);
  for (const [index, part] of row.parts.entries()) {
    for (const [name, what, digits] of part.lines) {
      const line = { row: row.row, title: row.title, what, digits, ratios: {} };
      for (const [server, runs] of Object.entries({ ...found[part.like], ...found[index] })) {
        if (runs.length) line[server] = median(runs.map((run) => run[name]));
      }
      for (const other of COLUMNS) {
        if (other !== 'gateway' && line.gateway !== undefined && line[other]) {
          line.ratios[other] = line.gateway / line[other];
        }
      }
      lines.push(line);
    }
  }
}

const others = COLUMNS.filter((name) => name !== 'gateway');
const print = (cells) => console.log(`| ${cells.join(' | ')} |`);
print(['', ...COLUMNS.map((name) => TITLES[name]), ...others.map((name) => `÷ ${TITLES[name]}`)]);
console.log(`|---|${'---|'.repeat(COLUMNS.length + others.length)}`);
lines.forEach((line, index) => {
  if (line.row !== lines[index - 1]?.row) {
    print([`**${line.row}. ${line.title}**`, ...[...COLUMNS, ...others].map(() => '')]);
  }
  const numbers = COLUMNS.map((name) => line[name]?.toFixed(line.digits) ?? '');
  print([line.what, ...numbers, ...others.map((name) => line.ratios[name]?.toFixed(2) ?? '')]);
});
for (const failure of failures) console.log(`FAILED: ${failure}`);
const minutes = Number(((performance.now() - began) / 60_000).toFixed(1));
console.log(JSON.stringify({ settings, minutes, lines, failures }));
process.exitCode = failures.length ? 1 : 0;
