// The runbooks as what somebody types: the commands of a section, and the lines that all of them take for granted.

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';

const file = path.resolve(import.meta.dirname, '../../docs/runbooks.md');
// What a command begins with. Words of Redis in capitals are for redis-cli, as the preamble says.
const COMMAND = /^(metric|operator|redis-cli|curl|prlimit) /;
const QUERY = /^(sum|histogram_quantile)\b.*\(/;
const OF_REDIS = /^(CONFIG|INFO|SLOWLOG|CLIENT|ROLE|PUBSUB|BGSAVE|BGREWRITEAOF)( |$)/;

/** All sections by their alert: the steps, and the commands in each step. */
export async function runbooks() {
  const text = await readFile(file, 'utf8');
  const preamble = text.match(/```sh\n(NODES=[^]*?)```/)[1];
  const sections = new Map();
  for (const [, name, body] of text.matchAll(/^### (\w+)\n([^]*?)(?=^##|$(?![^]))/gm)) {
    const steps = Object.fromEntries([...body.matchAll(/^- \*\*([\w ]+)\*\*: (.*)$/gm)].map(([, step, said]) => [step, said]));
    const commands = (step) => [...(steps[step] ?? '').matchAll(/`([^`]+)`/g)].map(([, span]) => asTyped(span)).filter(Boolean);
    sections.set(name, { steps, look: commands('Look first'), act: commands('Do') });
  }
  return { preamble, sections };
}

function asTyped(span) {
  if (COMMAND.test(span) || QUERY.test(span)) return span;
  return OF_REDIS.test(span) ? `redis-cli $REDIS ${span}` : undefined;
}

/** Whether it is for Prometheus. */
export const isQuery = (command) => QUERY.test(command);

/** Types a command as it stands there; `fills` are what stands for names in capitals. */
export function type(preamble, command, variables, fills = {}) {
  const filled = Object.entries(fills).reduce((text, [name, value]) => text.replaceAll(name, value), command);
  const set = Object.entries(variables).map(([name, value]) => `${name}='${value}'\n`).join('');
  return new Promise((resolve) => {
    execFile('bash', ['-c', `${preamble}\n${set}\n${filled}`], { timeout: 20_000, env: process.env }, (error, stdout, stderr) => {
      resolve({ command: filled, code: error ? (error.code ?? 'killed') : 0, said: stdout, complained: stderr });
    });
  });
}
