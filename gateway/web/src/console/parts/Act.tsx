// A button that changes something: it asks first where that cannot be taken back, is out of reach of viewers, and says what came of it.

import { useId, useState } from 'react';
import { explain } from '../link/api';
import { useRole } from '../link/SocketProvider';
import { useAnnounce } from './Announcer';
import { useConfirm, type Question } from './Confirm';

export const VIEWER = 'You are signed in as a viewer: this needs admin.token.';

interface ActProps {
  label: string;
  /** What it acts on, for those who do not see where the button stands. */
  of?: string;
  /** What is asked first. */
  ask?: Question;
  /** Does it; what it gives back is said. */
  run: () => Promise<string>;
  /** Why it cannot be done now, if it cannot. */
  blocked?: string | undefined;
}

export function Act({ label, of, ask, run, blocked }: ActProps) {
  const [busy, setBusy] = useState(false);
  const [confirm, announce, role, reason] = [useConfirm(), useAnnounce(), useRole(), useId()];
  const why = role === 'operator' ? blocked : VIEWER;
  const act = async () => {
    if (ask !== undefined && !(await confirm(ask))) return;
    setBusy(true);
    try {
      announce(await run());
    } catch (error) {
      announce(explain(error), true);
    } finally {
      setBusy(false);
    }
  };
  // Not the attribute `disabled`: what has no focus cannot tell why it is out of reach.
  const off = busy || why !== undefined;
  return (
    <span className="act">
      <button
        type="button"
        className={ask === undefined ? undefined : 'danger'}
        aria-disabled={off}
        aria-describedby={why === undefined ? undefined : reason}
        title={why}
        onClick={() => {
          if (!off) void act();
        }}
      >
        {label}
        {of === undefined ? null : <span className="unseen"> {of}</span>}
      </button>
      {why === undefined ? null : (
        <span id={reason} className="unseen">
          {why}
        </span>
      )}
    </span>
  );
}
