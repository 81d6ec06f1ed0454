// Figures of this node that no event tells: read out of its metrics, in the text format of Prometheus.

const LINE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})? (\S+)/;

export interface Series {
  labels: string;
  value: number;
}

/** All series of the named metrics. */
export function read(text: string, names: readonly string[]): Map<string, Series[]> {
  const found = new Map<string, Series[]>(names.map((name) => [name, []]));
  for (const line of text.split('\n')) {
    const [, name = '', labels = '', value] = LINE.exec(line) ?? [];
    const series = found.get(name);
    if (series !== undefined && value !== undefined) series.push({ labels, value: Number(value) });
  }
  return found;
}

/** The sum of a metric's series that have a label; of all, if none is named. Nothing, if the node does not have it. */
export function sum(found: Map<string, Series[]>, name: string, label = ''): number | undefined {
  const series = (found.get(name) ?? []).filter(({ labels }) => labels.includes(label));
  return series.length === 0 ? undefined : series.reduce((sofar, { value }) => sofar + value, 0);
}
