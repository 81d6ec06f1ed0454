// What was asked for, once it is there; why not, if it is not.

import type { ReactNode } from 'react';

import type { Asked } from '../link/useAsk';

interface AnsweredProps<T> {
  asked: Asked<T>;
  children: (data: T) => ReactNode;
}

export function Answered<T>({ asked, children }: AnsweredProps<T>) {
  return (
    <>
      {asked.why === undefined ? null : (
        <p role="alert" className="notice bad">
          {asked.why}
        </p>
      )}
      {asked.data === undefined ? asked.why === undefined && <p className="empty">Loading …</p> : children(asked.data)}
    </>
  );
}

/** Says that some nodes did not answer. */
export function Missing({ nodes }: { nodes: number }) {
  if (nodes === 0) return null;
  return (
    <p role="status" className="notice warn">
      {nodes === 1 ? 'One node' : `${nodes} nodes`} did not answer: what is there is missing here.
    </p>
  );
}

/** Asks once more. */
export function Again({ asked }: { asked: { again: () => void } }) {
  return (
    <button type="button" onClick={asked.again}>
      Refresh
    </button>
  );
}
