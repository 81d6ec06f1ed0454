// What is said to screen readers, and shown for a while to everybody: what came of an action.

import { createContext, useCallback, useContext, useEffect, useMemo, useState, type ReactNode } from 'react';

interface Said {
  text: string;
  bad: boolean;
  /** Told apart from the same text said before. */
  turn: number;
}

type Announce = (text: string, bad?: boolean) => void;

const Announcing = createContext<Announce>(() => undefined);

/** Says something once. */
export function useAnnounce(): Announce {
  return useContext(Announcing);
}

/** How long what was said stays on the screen. */
const SHOWN_MS = 8_000;

export function Announcer({ children }: { children: ReactNode }) {
  const [said, setSaid] = useState<Said>({ text: '', bad: false, turn: 0 });
  const announce = useCallback<Announce>((text, bad = false) => {
    setSaid((before) => ({ text, bad, turn: before.turn + 1 }));
  }, []);
  useEffect(() => {
    if (said.text === '') return;
    const timer = setTimeout(() => {
      setSaid((now) => ({ ...now, text: '' }));
    }, SHOWN_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [said]);
  const region = useMemo(
    () => (
      // Both regions are there before they speak: readers do not notice one that comes with its text.
      <div className="said">
        <div role="status" className={said.bad || said.text === '' ? 'hidden' : 'toast'}>
          {said.bad ? '' : said.text}
        </div>
        <div role="alert" className={said.bad && said.text !== '' ? 'toast bad' : 'hidden'}>
          {said.bad ? said.text : ''}
        </div>
      </div>
    ),
    [said],
  );
  return (
    <Announcing value={announce}>
      {children}
      {region}
    </Announcing>
  );
}
