// Draws a dashboard with Grafana's own components: what is around them in Grafana (queries, layout, field options) is done here as far as
// our dashboards need it. draw.mjs calls `draw` in a browser and takes the pictures.

import {
  applyFieldOverrides,
  createTheme,
  dateTime,
  FieldConfigOptionsRegistry,
  FieldType,
  getFieldDisplayValues,
  identityOverrideProcessor,
  ThemeContext,
  toDataFrame,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, PanelContextProvider, Table, TimeSeries, VizRepeater } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

const theme = createTheme({ colors: { mode: 'light' } });
// Grafana's grid: 24 columns, rows of 30 pixels, 8 between panels.
const WIDTH = 1560;
const cell = (WIDTH + 8) / 24;
const box = ({ x, y, w, h }) => ({ left: x * cell, top: y * 38, width: w * cell - 8, height: h * 38 - 8 });

/** The options of fields, which Grafana's programs register; a panel plugin adds those of its own as custom ones. */
const OPTIONS = ['unit', 'min', 'max', 'decimals', 'color', 'thresholds', 'mappings', 'noValue', 'links', 'displayName'];
const CUSTOM = [
  ...['drawStyle', 'lineWidth', 'fillOpacity', 'lineInterpolation', 'gradientMode', 'showPoints', 'pointSize', 'spanNulls', 'stacking'],
  ...['axisPlacement', 'axisLabel', 'axisSoftMin', 'axisSoftMax', 'scaleDistribution', 'thresholdsStyle', 'barAlignment', 'barMaxWidth'],
  ...['barWidthFactor', 'lineStyle', 'align', 'cellOptions', 'width', 'minWidth', 'filterable'],
];
const registry = new FieldConfigOptionsRegistry(() => {
  const option = (path, isCustom) => ({
    id: isCustom ? `custom.${path}` : path,
    path,
    isCustom,
    name: path,
    process: identityOverrideProcessor,
    shouldApply: ({ type }) => !isCustom || type !== FieldType.time,
    settings: {},
  });
  return [...OPTIONS.map((path) => option(path, false)), ...CUSTOM.map((path) => option(path, true))];
});

const named = (format, labels) => format.replace(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? '');

/** The answers of Prometheus as Grafana's panels have them: a frame for each series, with nothing where there is no sample. */
function frames({ target, series }, { from, to, step }) {
  const times = Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, at) => from + at * step);
  return series.map(({ metric, values }) => {
    const name = named(target.legendFormat, metric);
    const known = new Map(values);
    const number = (text) => (text === undefined || text === 'NaN' ? null : Number(text));
    return toDataFrame({
      refId: target.refId,
      name,
      fields: [
        { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000), config: { interval: step * 1000 } },
        { name: 'Value', type: FieldType.number, labels: metric, values: times.map((time) => number(known.get(time))), config: { displayNameFromDS: name } },
      ],
    });
  });
}

/** A table: one frame, a field for each label that is shown, as the transformation of the panel says. */
function table(answers, { options }) {
  const shown = Object.entries(options.renameByName);
  const rows = answers.flatMap(({ series }) => series.map(({ metric }) => metric));
  const fields = shown.map(([label, name]) => ({ name, type: FieldType.string, values: rows.map((row) => row[label] ?? ''), config: {} }));
  return toDataFrame({ fields });
}

function withOptions(data, { defaults, overrides }) {
  // JSON has no infinity.
  const steps = defaults.thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
  const fieldConfig = { defaults: { ...defaults, thresholds: { ...defaults.thresholds, steps } }, overrides };
  return applyFieldOverrides({ data, fieldConfig, theme, timeZone: 'utc', replaceVariables: (text) => text, fieldConfigRegistry: registry });
}

/** Annotations, as Grafana marks them: a line where something began, and its span in the same colour. */
const marks = (annotations) => (builder) => {
  builder.addHook('draw', (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    for (const { color, spans } of annotations) {
      const paint = theme.visualization.getColorByName(color);
      for (const [from, to] of spans) {
        const [left, right] = [from, to].map((time) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, plot.valToPos(time * 1000, 'x', true))));
        ctx.fillStyle = ctx.strokeStyle = paint;
        ctx.globalAlpha = 0.09;
        ctx.fillRect(left, bbox.top, right - left, bbox.height);
        ctx.globalAlpha = 0.8;
        ctx.setLineDash([4, 4]);
        ctx.beginPath();
        ctx.moveTo(left, bbox.top);
        ctx.lineTo(left, bbox.top + bbox.height);
        ctx.stroke();
      }
    }
    ctx.restore();
  });
};

const Nothing = ({ text = 'No data' }) => <div className="nothing">{text}</div>;

function Lines({ panel, answers, annotations, span, width, height }) {
  const { from, to } = span;
  const data = withOptions(answers.flatMap((answer) => frames(answer, span)), panel.fieldConfig);
  if (data.length === 0) return <Nothing />;
  const range = { from: dateTime(from * 1000), to: dateTime(to * 1000) };
  const tweak = marks(annotations);
  return (
    <TimeSeries
      frames={data}
      structureRev={1}
      timeRange={{ ...range, raw: range }}
      timeZone="utc"
      width={width}
      height={height}
      legend={panel.options.legend}
      options={panel.options}
      tweakAxis={(options) => options}
    >
      {(builder) => {
        // The builder is made once, and so are its hooks.
        if (!builder.marked) tweak(builder);
        builder.marked = true;
        return null;
      }}
    </TimeSeries>
  );
}

function Stat({ panel, answers, span, width, height }) {
  const data = withOptions(answers.flatMap((answer) => frames(answer, span)), panel.fieldConfig);
  if (data.length === 0) return <Nothing text={panel.fieldConfig.defaults.noValue} />;
  const values = getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data,
    sparkline: panel.options.graphMode !== 'none',
    timeZone: 'utc',
  });
  return (
    <VizRepeater
      width={width}
      height={height}
      source={values}
      autoGrid={true}
      orientation="auto"
      getValues={() => values}
      renderCounter={0}
      renderValue={({ value, width, height, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode}
          justifyMode={panel.options.justifyMode}
          textMode={panel.options.textMode}
          width={width}
          height={height}
          theme={theme}
        />
      )}
    />
  );
}

function Rows({ panel, answers, width, height }) {
  const [data] = withOptions([table(answers, panel.transformations[0])], panel.fieldConfig);
  if (data.length === 0) return <Nothing text={panel.fieldConfig.defaults.noValue} />;
  return <Table data={data} width={width} height={height} cellHeight="sm" />;
}

const KINDS = { timeseries: Lines, stat: Stat, table: Rows };
const CONTEXT = { eventBus: { publish() {}, getStream: () => ({ pipe: () => ({ subscribe: () => ({ unsubscribe() {} }) }), subscribe() {} }) }, sync: () => 0 };

function Panel({ panel, ...more }) {
  const { width, height, ...place } = box(panel.gridPos);
  const Kind = KINDS[panel.type];
  return (
    <div className="panel" data-panel={panel.id} style={{ ...place, width, height }}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(width, height) => <Kind panel={panel} width={width} height={height} {...more} />}
      </PanelChrome>
    </div>
  );
}

/**
 * Draws a dashboard with all of its rows open. `answers` are, by panel, its targets and what Prometheus answered; `annotations` their
 * colours and spans of time; `span` is the time that is drawn, and its step, in seconds.
 */
window.draw = ({ dashboard, panels, rows, answers, annotations, span, bottom }) => {
  const head = ({ id, title, gridPos }) => (
    <div key={id} className="heading" style={{ top: gridPos.y * 38 }}>
      {title}
    </div>
  );
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <PanelContextProvider value={CONTEXT}>
        <h1>{dashboard.title}</h1>
        <div className="board" style={{ width: WIDTH, height: bottom * 38 }}>
          {rows.map(head)}
          {panels.map((panel) => (
            <Panel key={panel.id} panel={panel} answers={answers[panel.id]} annotations={annotations} span={span} />
          ))}
        </div>
      </PanelContextProvider>
    </ThemeContext.Provider>,
  );
};
