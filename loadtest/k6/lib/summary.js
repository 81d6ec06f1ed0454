// What is left of a run: a text for people, and with RESULTS files for programs (JSON, JUnit) and for reports (Markdown).
import { text } from './settings.js';

const RESULTS = text('RESULTS');
const LATE_MS = 50;
// k6's own, of which no scenario here asks anything unless it has a threshold.
const BUILT_IN = /^(vus|vus_max|iterations|iteration_duration|data_|group_duration|http_req_|http_reqs|ws_)/;

/**
 * Makes the `handleSummary` of a scenario.
 * @param {string} name of the scenario, and of its files
 * @param {(values: (metric: string) => any) => string[]} [tell] sentences about what it found
 */
export function summary(name, tell = () => []) {
  return (data) => {
    const report = read(name, data);
    const values = (metric) => data.metrics[metric]?.values;
    report.findings = [...tell(values), ...doubts(values)];
    const files = { stdout: asText(report) };
    if (RESULTS) {
      const base = `${RESULTS.replace(/\/$/, '')}/${name}`;
      files[`${base}.json`] = `${JSON.stringify(report, null, 2)}\n`;
      files[`${base}.junit.xml`] = asJunit(report);
      files[`${base}.md`] = asMarkdown(report);
    }
    return files;
  };
}

/** Whether what was measured is the server's. */
function doubts(values) {
  const lag = values('generator_lag')?.['p(99)'];
  return lag > LATE_MS ? [`k6's own timers were late by ${shown(lag, 'time')} (p99 of generator_lag): latencies are k6's, not the gateway's`] : [];
}

function read(name, data) {
  const thresholds = Object.entries(data.metrics).flatMap(([metric, { thresholds: all, values, contains }]) =>
    Object.entries(all ?? {}).map(([threshold, { ok }]) => {
      const aggregate = threshold.split(/[<>=!]/)[0].trim();
      const measured = aggregate === 'count' || values.count > 0 || values.passes + values.fails > 0 || aggregate === 'value';
      return { metric, threshold, ok, value: measured ? values[aggregate] ?? null : null, contains };
    })).sort((a, b) => (a.metric < b.metric ? -1 : 1));
  const checks = collect(data.root_group);
  const metrics = Object.fromEntries(Object.entries(data.metrics)
    .filter(([metric]) => !BUILT_IN.test(metric) && metric !== 'checks')
    .map(([metric, { type, contains, values }]) => [metric, { type, contains, ...values }]));
  return {
    scenario: name,
    passed: thresholds.every(({ ok }) => ok),
    seconds: Math.round(data.state.testRunDurationMs / 100) / 10,
    findings: [],
    thresholds,
    checks,
    metrics,
  };
}

function collect(group) {
  return [
    ...group.checks.map(({ name, passes, fails }) => ({ name, passes, fails })),
    ...group.groups.flatMap(collect),
  ];
}

function asText(report) {
  const { scenario, passed, seconds, findings, thresholds, checks, metrics } = report;
  const kept = thresholds.filter(({ ok }) => ok).length;
  const lines = ['', `${scenario}: ${passed ? 'passed' : 'FAILED'}, ${kept} of ${thresholds.length} thresholds held, ${seconds} s`, ''];
  const width = Math.max(...thresholds.map(({ metric }) => metric.length), ...Object.keys(metrics).map((name) => name.length));
  for (const { metric, threshold, ok, value, contains } of thresholds) {
    lines.push(`  ${ok ? 'ok  ' : 'FAIL'}  ${metric.padEnd(width)}  ${threshold.padEnd(14)}  ${shown(value, contains)}`);
  }
  for (const { name, passes, fails } of checks.filter((check) => check.fails > 0)) {
    lines.push(`  FAIL  ${name}: ${fails} of ${passes + fails}`);
  }
  lines.push('');
  for (const [metric, values] of Object.entries(metrics).sort(([a], [b]) => (a < b ? -1 : 1))) {
    lines.push(`        ${metric.padEnd(width)}  ${figures(values)}`);
  }
  return `${lines.concat('', ...findings.map((finding) => `  ${finding}`)).join('\n')}\n\n`;
}

function figures({ type, contains, ...values }) {
  if (type === 'counter') return `${values.count}  (${shown(values.rate)}/s)`;
  if (type === 'rate') return `${Math.floor(values.rate * 1e4) / 100} %  (${values.passes} of ${values.passes + values.fails})`;
  if (type === 'gauge') return `${shown(values.value, contains)}  (${shown(values.min, contains)} to ${shown(values.max, contains)})`;
  return ['med', 'p(95)', 'p(99)', 'max'].filter((name) => name in values)
    .map((name) => `${name} ${shown(values[name], contains)}`).join('  ');
}

function shown(value, contains = '') {
  if (value === null || value === undefined) return 'nothing measured';
  // Three digits, and all of those before the point.
  const short = String(Number(value.toPrecision(Math.max(3, Math.floor(Math.abs(value)).toString().length))));
  return contains === 'time' ? `${short} ms` : short;
}

function asMarkdown({ scenario, passed, seconds, findings, thresholds, checks, metrics }) {
  return [
    `# ${scenario}: ${passed ? 'passed' : 'failed'}`, '', `${seconds} s.`, '', ...findings.map((finding) => `- ${finding}`), '',
    '| threshold | | value | held |', '|---|---|---|---|',
    ...thresholds.map(({ metric, threshold, ok, value, contains }) =>
      `| \`${metric}\` | \`${threshold}\` | ${shown(value, contains)} | ${ok ? 'yes' : '**no**'} |`), '',
    ...checks.filter(({ fails }) => fails > 0).map(({ name, passes, fails }) => `- failed: ${name}, ${fails} of ${passes + fails}`),
    '| metric | |', '|---|---|',
    ...Object.entries(metrics).map(([metric, values]) => `| \`${metric}\` | ${figures(values)} |`), '',
  ].join('\n');
}

/** One test case for each threshold and each check. */
function asJunit({ scenario, seconds, thresholds, checks }) {
  const cases = [
    ...thresholds.map(({ metric, threshold, ok, value, contains }) =>
      ({ name: `${metric} ${threshold}`, failure: ok ? null : `it was ${shown(value, contains)}` })),
    ...checks.map(({ name, passes, fails }) => ({ name, failure: fails > 0 ? `failed ${fails} of ${passes + fails} times` : null })),
  ];
  const failures = cases.filter(({ failure }) => failure).length;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuite name="${escaped(scenario)}" tests="${cases.length}" failures="${failures}" time="${seconds}">`,
    ...cases.map(({ name, failure }) => (failure
      ? `  <testcase name="${escaped(name)}"><failure message="${escaped(failure)}"/></testcase>`
      : `  <testcase name="${escaped(name)}"/>`)),
    '</testsuite>', '',
  ].join('\n');
}

function escaped(value) {
  return value.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
