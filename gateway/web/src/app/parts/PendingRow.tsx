// What is on its way, or was refused.

import { because } from '../connection/words';
import type { Pending } from '../talks/state';

export function PendingRow({ pending, onAgain }: { pending: Pending; onAgain: () => void }) {
  const { said, refusal } = pending;
  return (
    <article className="message mine pending">
      <p className="text" dir="auto">{said.text || 'a picture'}</p>
      {!refusal && <p className="faint">on its way</p>}
      {refusal && refusal.retryAfterMs !== null && <p className="warn" role="status">Not sent yet: {because(refusal)}. It is tried again by itself.</p>}
      {refusal?.retryAfterMs === null && (
        <p className="bad" role="alert">Not sent: {because(refusal)}. <button className="plain" onClick={onAgain}>Try again</button></p>
      )}
    </article>
  );
}
