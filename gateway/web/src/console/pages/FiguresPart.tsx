// What the metrics of this node say of the archive and of back ends that are left alone.

import { useEffect, useState } from 'react';

import { count, duration } from '../format';
import { read, sum, type Series } from '../live/figures';
import { useLink } from '../link/SocketProvider';
import { Part } from '../parts/Page';
import { Facts } from '../parts/Table';

const NAMES = [
  'gateway_archive_waiting',
  'gateway_archive_lag_seconds',
  'gateway_archive_gaps_total',
  'gateway_archive_errors_total',
  'gateway_call_breaker_openings_total',
  'gateway_calls_total',
  'gateway_hook_attempts_total',
];

export function FiguresPart({ every }: { every: number }) {
  const { config } = useLink();
  const [found, setFound] = useState<Map<string, Series[]>>();
  useEffect(() => {
    const stop = new AbortController();
    const look = async () => {
      const response = await fetch('/metrics', { signal: stop.signal });
      if (response.ok) setFound(read(await response.text(), NAMES));
    };
    // Another look comes by itself; while the node is away the header says so.
    const tryIt = () => {
      look().catch(() => undefined);
    };
    tryIt();
    const timer = setInterval(tryIt, every);
    return () => {
      stop.abort();
      clearInterval(timer);
    };
  }, [every]);
  const figure = (name: string, label?: string) => (found === undefined ? undefined : sum(found, name, label));
  return (
    <Part title={`As ${config.node} sees it`}>
      <Facts
        facts={[
          ['archive is behind by', duration(figure('gateway_archive_lag_seconds'))],
          ['waits for it', count(figure('gateway_archive_waiting'))],
          ['gaps in it', count(figure('gateway_archive_gaps_total'))],
          ['failures of it', count(figure('gateway_archive_errors_total'))],
          ['breakers opened', count(figure('gateway_call_breaker_openings_total'))],
          ['calls not made so', count(figure('gateway_calls_total', 'result="open"'))],
          ['deliveries not made so', count(figure('gateway_hook_attempts_total', 'result="open"'))],
        ]}
      />
      <p className="hint">
        A breaker leaves a back end alone for a while that failed several times in a row. The archive is written by one
        node at a time: the others say 0.
      </p>
    </Part>
  );
}
