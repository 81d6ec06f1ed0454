// Where something is said: Enter sends, Shift and Enter begin a new line; an image goes with it as bytes.

import { type ChangeEvent, type KeyboardEvent, type SubmitEvent, useId, useRef, useState } from 'react';

import { nameOf } from '../identity';
import type { Talk } from '../talks/state';
import { useTalks } from '../talks/TalksProvider';
import { shrink } from './shrink';

/** Others are told again before it ends by itself, after 5 s. */
const TYPING_MS = 3_000;

export function Composer({ talk }: { talk: Talk }) {
  const talks = useTalks();
  const field = useId();
  const file = useRef<HTMLInputElement>(null);
  const toldAt = useRef(0);
  const [text, setText] = useState('');
  const [problem, setProblem] = useState('');
  const typed = (value: string) => {
    setText(value);
    const now = Date.now();
    const on = value !== '';
    if (on && now - toldAt.current < TYPING_MS) return;
    if (!on && toldAt.current === 0) return;
    toldAt.current = on ? now : 0;
    talks.typing(talk.key, on);
  };
  const say = (event: SubmitEvent | KeyboardEvent) => {
    event.preventDefault();
    if (text.trim() === '') return;
    talks.say(talk.key, { text: text.trim(), image: null });
    typed('');
  };
  const chosen = async ({ target }: ChangeEvent<HTMLInputElement>) => {
    const picture = target.files?.[0];
    target.value = '';
    if (!picture) return;
    const image = await shrink(picture);
    setProblem(image ? '' : 'That is no image that can be sent.');
    if (image) talks.say(talk.key, { text: '', image });
  };
  return (
    <form className="composer" onSubmit={say}>
      {problem !== '' && <p className="bad" role="alert">{problem}</p>}
      <label htmlFor={field} className="hidden">Message to {nameOf(talk.name)}</label>
      <textarea id={field} rows={1} dir="auto" placeholder="Say something" value={text} maxLength={8_000}
        onChange={({ target }) => typed(target.value)}
        onKeyDown={(event) => event.key === 'Enter' && !event.shiftKey && !event.nativeEvent.isComposing && say(event)} />
      <input ref={file} type="file" accept="image/*" className="hidden" tabIndex={-1} aria-label="Image" onChange={chosen} />
      <button type="button" onClick={() => file.current?.click()}>Image</button>
      <button className="primary">Send</button>
    </form>
  );
}
