// Pictures of the dashboards, as Grafana's components draw them, of what a Prometheus has seen.
//
//   node draw.mjs FOLDER [NAME...]     FOLDER is what scene.mjs made; pictures of all dashboards, or of those named, come into FOLDER/pictures
//
// Says of each panel how many series it has, and fails if one is without any that is not expected to be.

import assert from 'node:assert/strict';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

import { build } from 'esbuild';
import { chromium } from 'playwright-core';

import { Prometheus } from './prometheus.mjs';

const STEP_S = 5;
const dashboards = path.resolve(import.meta.dirname, '../dashboards');
const folder = path.resolve(process.argv[2] ?? assert.fail('usage: draw.mjs FOLDER [NAME...]'));
const wanted = process.argv.slice(3);

/** What All of a variable means, and the windows of a scrape interval of 5 s. */
const VALUES = { job: 'gateway', namespace: '.*', instance: '.+', quantile: '0.99', testid: '.*', scenario: '.*', __rate_interval: '20s' };
const filled = (text) => text.replace(/\$(\w+)/g, (whole, name) => VALUES[name] ?? whole);

/** All panels and heads of rows, where they are when every row is open. */
function opened(dashboard) {
  const panels = [];
  const rows = [];
  let moved = 0;
  let bottom = 0;
  for (const panel of dashboard.panels) {
    const place = (one) => ({ ...one, gridPos: { ...one.gridPos, y: one.gridPos.y + moved } });
    if (panel.type === 'row') rows.push(place(panel));
    const inside = panel.type === 'row' ? panel.panels : [panel];
    panels.push(...inside.map(place));
    for (const { gridPos } of [panel, ...inside]) bottom = Math.max(bottom, gridPos.y + gridPos.h + moved);
  }
  return { panels, rows, bottom };
}

/** Where a query has an answer: spans of time. */
function spans(series) {
  return series.flatMap(({ values }) => {
    const found = [];
    for (const [time] of values) {
      const last = found.at(-1);
      if (last && time - last[1] <= 2 * STEP_S) last[1] = time;
      else found.push([time, time]);
    }
    return found;
  });
}

async function ask(prometheus, dashboard, { from, to }) {
  const answers = {};
  for (const panel of opened(dashboard).panels) {
    answers[panel.id] = await Promise.all(
      panel.targets.map(async (target) => {
        const query = filled(target.expr);
        // A table shows what is now; the scene's end has nothing left to show, so it is drawn at its worst moment.
        const series = target.instant ? await worst(prometheus, query, from, to) : await prometheus.range(query, from, to, STEP_S);
        return { target: { ...target, legendFormat: filled(target.legendFormat) }, series };
      }),
    );
  }
  const annotations = await Promise.all(
    dashboard.annotations.list.map(async ({ expr, iconColor }) => ({
      color: iconColor,
      spans: spans(await prometheus.range(filled(expr), from, to, STEP_S)),
    })),
  );
  return { answers, annotations };
}

/** The moment in which a query has most answers. */
async function worst(prometheus, query, from, to) {
  const counted = await prometheus.range(`count(${query})`, from, to, STEP_S);
  const [most] = (counted[0]?.values ?? []).toSorted(([, a], [, b]) => Number(b) - Number(a));
  return most ? prometheus.instant(query, most[0]) : [];
}

const scrollbars = {
  name: 'scrollbars',
  setup: ({ onResolve }) => onResolve({ filter: /^react-custom-scrollbars-2$/ }, () => ({ path: path.join(import.meta.dirname, 'scrollbars.js') })),
};
const bundle = await build({
  plugins: [scrollbars],
  entryPoints: [path.join(import.meta.dirname, 'page.jsx')],
  bundle: true,
  // In memory: styles become a file of their own.
  write: false,
  outdir: '/',
  jsx: 'automatic',
  format: 'iife',
  logLevel: 'error',
  loader: { '.svg': 'dataurl', '.ttf': 'empty' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
});
const [script, style] = ['.js', '.css'].map((end) => bundle.outputFiles.find((file) => file.path.endsWith(end)).text);
const STYLE = `
  body { margin: 0; padding: 16px; background: #f4f5f5; width: 1560px; font-family: Inter, 'DejaVu Sans', sans-serif; }
  h1 { font-size: 20px; margin: 0 0 12px; }
  .board { position: relative; }
  .panel { position: absolute; }
  .heading { position: absolute; font-weight: 500; font-size: 16px; padding-top: 4px; }
  .nothing { display: flex; align-items: center; justify-content: center; height: 100%; color: rgba(36, 41, 46, 0.75); }
`;

const scene = JSON.parse(await readFile(path.join(folder, 'scene.json'), 'utf8'));
const span = { from: Math.floor(scene.from / 1000), to: Math.ceil(scene.to / 1000) };
const pictures = path.join(folder, 'pictures');
await mkdir(pictures, { recursive: true });
const prometheus = await Prometheus.start(path.join(folder, 'data'));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-dev-shm-usage'] });
try {
  const files = (await readdir(dashboards)).filter((name) => name.endsWith('.json')).map((name) => path.basename(name, '.json'));
  for (const name of files.filter((name) => wanted.length === 0 || wanted.includes(name))) {
    const dashboard = JSON.parse(await readFile(path.join(dashboards, `${name}.json`), 'utf8'));
    const seen = await ask(prometheus, dashboard, span);
    const { panels, rows, bottom } = opened(dashboard);
    for (const panel of panels) {
      const counts = seen.answers[panel.id].map(({ series }) => series.length);
      console.log(`${name}: ${panel.title}: ${counts.join(' + ')} series`);
    }
    const page = await browser.newPage({ viewport: { width: 1592, height: Math.min(bottom * 38 + 80, 16000) } });
    // Twelve megabytes of components take their time on a busy machine.
    page.setDefaultTimeout(180_000);
    page.on('pageerror', (error) => console.log(`${name}: ${error.stack}`));
    // A page of some origin, as the components want to remember things; nothing is asked for that is not in it.
    await page.route('**/*', (route) => route.fulfill({ contentType: 'text/html', body: '<div id="root"></div>' }));
    await page.goto('http://dashboards.localhost/');
    await page.addStyleTag({ content: style + STYLE });
    await page.addScriptTag({ content: script });
    await page.evaluate((all) => window.draw(all), { dashboard, panels, rows, bottom, span: { ...span, step: STEP_S }, ...seen });
    await page.waitForFunction((many) => document.querySelectorAll('.panel').length === many, panels.length);
    // Charts are drawn in the frames after the one in which they appear.
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)))));
    // A picture for each row: what is read together.
    for (const [at, row] of rows.entries()) {
      const top = row.gridPos.y * 38 + (at === 0 ? 0 : 46);
      const end = (rows[at + 1]?.gridPos.y ?? bottom) * 38 + 46;
      await page.screenshot({ path: path.join(pictures, `${name}-${at + 1}.png`), clip: { x: 0, y: top, width: 1592, height: end - top + 8 } });
    }
    await page.close();
  }
} finally {
  await browser.close();
  await prometheus.stop();
}
