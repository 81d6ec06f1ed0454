// A page of one's own: a room, with the hook that does the rest.

import { type SubmitEvent, useState } from 'react';
import { io } from 'socket.io-client';

import { useRoom } from './useRoom';

// Retries send again what was not answered, with the same id: the gateway keeps it once.
const socket = io(import.meta.env.VITE_GATEWAY, { retries: 5, ackTimeout: 5_000 });

export function App() {
  const { messages, isInside, isIncomplete, say } = useRoom<string>(socket, 'quick-start');
  const [text, setText] = useState('');
  const [problem, setProblem] = useState('');
  const send = (event: SubmitEvent) => {
    event.preventDefault();
    setText('');
    say(text, `${socket.id}-${Date.now()}`).then(() => setProblem(''), (error: unknown) => setProblem(String(error)));
  };
  return (
    <main>
      <h1>My room</h1>
      <p role="status">{isInside ? 'connected' : 'away'}{isIncomplete && ', and something may be missing'}</p>
      <ol>{messages.map(({ offset, user, data }) => <li key={offset}>{user ?? 'somebody'}: {data}</li>)}</ol>
      <form onSubmit={send}>
        <input aria-label="Message" value={text} onChange={({ target }) => setText(target.value)} required />
        <button>Send</button>
      </form>
      <p role="alert">{problem}</p>
    </main>
  );
}
