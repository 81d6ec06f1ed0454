// The first thing to see: under which name, or with which token, somebody comes in.

import { type SubmitEvent, useState } from 'react';

import type { Refusal } from '../connection/refusal';
import { because } from '../connection/words';
import { type Identity, named, suggestion, withToken } from '../identity';

export function Entry({ refusal, onEnter }: { refusal: Refusal | null; onEnter: (identity: Identity) => void }) {
  const [name, setName] = useState(suggestion);
  const [token, setToken] = useState('');
  const [isNoToken, setNoToken] = useState(false);
  const wantsToken = refusal !== null && refusal.code !== 'taken';

  const enter = (event: SubmitEvent) => {
    event.preventDefault();
    if (name.trim() !== '') onEnter(named(name.trim()));
  };
  const signIn = (event: SubmitEvent) => {
    event.preventDefault();
    const identity = withToken(token.trim());
    if (identity) onEnter(identity);
    else setNoToken(true);
  };

  return (
    <main className="entry">
      <h1>Realtime gateway</h1>
      <p>Open this page in two tabs, and talk.</p>
      {refusal && <p className="notice bad" role="alert">{because(refusal)}.</p>}
      <form onSubmit={enter} className="row">
        <label htmlFor="name">Your name</label>
        <input id="name" value={name} onChange={({ target }) => setName(target.value)} maxLength={40} required autoComplete="nickname" dir="auto" />
        <button className="primary">Come in</button>
      </form>
      <details open={wantsToken}>
        <summary>Sign in with a token</summary>
        <p>What <code>gateway token --user ann</code> prints, where a key for tokens is configured.</p>
        <form onSubmit={signIn} className="row">
          <label htmlFor="token">Token</label>
          <input id="token" type="password" value={token} onChange={({ target }) => setToken(target.value)} required autoComplete="off"
            aria-invalid={isNoToken} aria-describedby={isNoToken ? 'no-token' : undefined} />
          <button>Sign in</button>
        </form>
        {isNoToken && <p id="no-token" className="bad" role="alert">That is no token that names a user.</p>}
      </details>
      <button className="plain" type="button" onClick={() => onEnter({ kind: 'nobody' })}>Come in without a name</button>
    </main>
  );
}
