// Figures out of the text of metrics.

import { describe, expect, it } from 'vitest';

import { read, sum } from './figures';

const TEXT = `# HELP gateway_calls_total back ends asked
# TYPE gateway_calls_total counter
gateway_calls_total{result="ok"} 7
gateway_calls_total{result="open"} 2
gateway_calls_total_other 9
gateway_archive_lag_seconds 1.5e-3
`;

describe('metrics', () => {
  const found = read(TEXT, ['gateway_calls_total', 'gateway_archive_lag_seconds', 'gateway_none']);
  it('are read by their whole names', () => {
    expect(sum(found, 'gateway_calls_total')).toBe(9);
    expect(sum(found, 'gateway_archive_lag_seconds')).toBe(0.0015);
  });
  it('are told apart by their labels', () => {
    expect(sum(found, 'gateway_calls_total', 'result="open"')).toBe(2);
  });
  it('that are not there are not 0', () => {
    expect(sum(found, 'gateway_none')).toBeUndefined();
    expect(sum(found, 'gateway_calls_total', 'result="late"')).toBeUndefined();
  });
});
