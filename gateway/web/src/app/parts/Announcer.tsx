// Reads out what others say in the talk that is open: the list itself draws only what is in sight.

import { nameOf } from '../identity';
import { isMine, type Talk } from '../talks/state';
import { useTalkState } from '../talks/TalksProvider';

export function Announcer({ talk }: { talk: Talk }) {
  const state = useTalkState();
  const last = talk.entries.at(-1);
  const isNew = last?.kind === 'message' && !isMine(state, last);
  const what = isNew ? `${nameOf(last.user)}: ${last.said.text || 'a picture'}` : '';
  return <p className="hidden" role="log" aria-live="polite">{what}</p>;
}
