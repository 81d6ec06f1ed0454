// A chart of figures over time. What it shows is said in words, too.

import { useEffect, useId, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Samples } from '../live/samples';

export interface Line {
  /** Which column of the samples. */
  key: string;
  label: string;
  /** Which of the colours of the style sheet, from 1. */
  colour: number;
}

interface ChartProps {
  title: string;
  lines: readonly Line[];
  samples: Samples;
  write: (value: number | undefined) => string;
}

const HEIGHT = 160;
/** What the scale ends at where hardly anything happens: a line at the bottom says so. */
const LEAST = 1;

export function Chart({ title, lines, samples, write }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const heading = useId();
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(element, lines, write), samples.columns(lines.map((line) => line.key)), element);
    };
    make();
    // Colours are drawn, not styled: they have to be taken anew when the scheme changes.
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', make);
    const size = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    size.observe(element);
    return () => {
      dark.removeEventListener('change', make);
      size.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
    // The samples are drawn below; they are not a reason to begin anew.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [lines, write]);
  useEffect(() => {
    plot.current?.setData(samples.columns(lines.map((line) => line.key)));
  }, [samples, lines]);
  return (
    <figure className="chart" aria-labelledby={heading}>
      <figcaption id={heading}>
        <strong>{title}</strong>
        {lines.map((line) => (
          <span key={line.key} className={`line colour-${String(line.colour)}`}>
            {line.label} <b>{write(samples.last(line.key))}</b>
            <span className="unseen">, at most {write(samples.most(line.key))} in the time shown</span>
          </span>
        ))}
      </figcaption>
      <div ref={box} aria-hidden="true" className="plot" />
    </figure>
  );
}

function options(element: HTMLElement, lines: readonly Line[], write: ChartProps['write']): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour('--faint'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.1, LEAST)] } },
    axes: [
      { ...axis, values: '{HH}:{mm}:{ss}', space: 70, size: 28 },
      { ...axis, size: 70, values: (_, values) => values.map((value) => write(value)) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(`--colour-${String(line.colour)}`),
        width: 2,
        points: { show: false },
      })),
    ],
  };
}
