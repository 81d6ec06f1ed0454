// Gathers what happens, and hands it on a few times a second: a storm of events must not be one of drawings.

import { useCallback, useEffect, useEffectEvent, useRef } from 'react';

const DRAW_MS = 250;

/** What is called for each thing that happens; `tell` gets them in their order. */
export function useBatches<One>(tell: (batch: readonly One[]) => void): (one: One) => void {
  const latest = useEffectEvent(tell);
  const waiting = useRef<One[]>([]);
  useEffect(() => {
    const timer = setInterval(() => {
      if (waiting.current.length === 0) return;
      const batch = waiting.current;
      waiting.current = [];
      latest(batch);
    }, DRAW_MS);
    return () => clearInterval(timer);
  }, []);
  return useCallback((one: One) => {
    waiting.current.push(one);
  }, []);
}
