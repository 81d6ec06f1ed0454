// Measures the gateway beside npm's socket.io and the floor, and prints one table. README.md says how to read it.

import { parseArgs } from 'node:util';

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

/** Measures a part on all its servers by turns, so that what the machine does otherwise hits them alike. */
async function measured({ row, title }, part, runs) {
  const names = part.servers.filter((name) => known[name]);
  const values = Object.fromEntries(names.map((name) => [name, []]));
  for (let run = 1; run <= runs; run++) {
    for (const name of names) {
      const label = `${row}. ${title}, run ${run} of ${runs}: ${name}`;
      try {
        const found = await part.measure(known[name], settings);
        console.error(`${label}: ${JSON.stringify(found.values)} ${found.failures}`);
        values[name].push(found.values);
        // What others promise is theirs to keep: npm's socket.io, for one, has no order between nodes.
        if (name === 'gateway') failures.push(...found.failures.map((failure) => `${label}: ${failure}`));
      } catch (error) {
        failures.push(`${label}: ${error.message}`);
        console.error(failures.at(-1));
      }
    }
  }
  return values;
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

const COLUMNS = ['floor', 'node', 'gateway', ...(options.before ? ['before'] : [])];
const TITLES = { floor: 'floor', node: 'socket.io on Node', gateway: 'gateway', before: 'gateway before' };

const lines = [];
const began = performance.now();
for (const row of rows) {
  const found = [];
  for (const part of row.parts) {
    const values = await measured(row, part, Number(options.runs) || row.runs);
    found.push({ ...found[part.like], ...values });
    for (const [name, what, digits] of part.lines) {
      const line = { row: row.row, title: row.title, what, digits, ratios: {} };
      for (const [server, runs] of Object.entries(found.at(-1))) {
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
