// What the page knows of the cluster from events. It changes with every event, and tells at most ten times a second.

import { heard, swept, totals, type Cluster } from './cluster';
import { tallied, type Tallies } from './refusals';
import { Samples } from './samples';
import type { Refusals, ServerStats } from '../link/wire';

/** How often figures become a point of the charts: as often as nodes send them. */
export const SAMPLE_MS = 2_000;
/** Half an hour of them. */
const POINTS = 900;
const TELL_MS = 100;

export class Live {
  cluster: Cluster = new Map();
  tallies: Tallies = new Map();
  samples: Samples = Samples.keeping(POINTS);
  /** What happened and was not told one by one, since the page is open. */
  leftOut = 0;
  /** When the charts were last given a point, which is when silence shows, too. */
  now = Date.now();

  private readonly told = new Set<() => void>();
  private waiting: ReturnType<typeof setTimeout> | undefined;

  subscribe = (tell: () => void): (() => void) => {
    this.told.add(tell);
    return () => this.told.delete(tell);
  };

  onStats(stats: ServerStats, now = Date.now()): void {
    this.cluster = heard(this.cluster, stats, now);
    this.leftOut += stats.leftOut;
    this.tell();
  }

  onRefusals(refusals: Refusals, now = Date.now()): void {
    this.tallies = tallied(this.tallies, refusals, now);
    this.tell();
  }

  /** Takes a point of the charts. */
  sample(now = Date.now()): void {
    this.now = now;
    this.cluster = swept(this.cluster, now);
    if (this.cluster.size > 0) {
      const { received, delivered, refused, ackP50, ackP99, lag, cpu, connections } = totals(this.cluster, now);
      this.samples = this.samples.with(now / 1000, {
        received,
        delivered,
        refused,
        ackP50,
        ackP99,
        lag,
        cpu,
        connections,
      });
    }
    this.tell();
  }

  private tell(): void {
    this.waiting ??= setTimeout(() => {
      this.waiting = undefined;
      this.told.forEach((tell) => tell());
    }, TELL_MS);
  }
}
