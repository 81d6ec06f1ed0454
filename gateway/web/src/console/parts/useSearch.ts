// What is typed into a search, and, when nobody has typed for a moment, what is searched for.

import { useEffect, useState } from 'react';

import { adjust, type Place } from '../routing';

const PAUSE_MS = 250;

/** Begins with what the address says, and keeps that true: a search can be linked to. */
export function useSearch(
  { page, of, by }: Place,
  name: string,
): { text: string; setText: (text: string) => void; search: string } {
  const [text, setText] = useState(by[name] ?? '');
  const [search, setSearch] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => {
      setSearch(text);
      adjust({ page, of }, { [name]: text });
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [page, of, name, text]);
  return { text, setText, search: search.trim() };
}
