// Where one says who one is: with admin.token, or as a viewer.

import { useEffect, useId, useState } from 'react';

import type { Entrance } from './link/SocketProvider';
import { Field } from './parts/Field';

export function SignIn({ busy, why, signIn }: Entrance) {
  const [token, setToken] = useState('');
  const problem = useId();
  useEffect(() => {
    document.title = 'Sign in · Gateway console';
  }, []);
  return (
    <main className="sign-in">
      <h1>Gateway console</h1>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!busy && token.trim() !== '') signIn(token.trim());
        }}
      >
        <Field
          label="Token"
          type="password"
          value={token}
          change={setToken}
          required
          invalid={why !== undefined}
          describedBy={problem}
        />
        <p className="hint">
          <code>admin.token</code> of the configuration, or <code>admin.viewer_token</code> to look only. It is not
          kept: a login takes its place for as long as this tab is open.
        </p>
        <button type="submit" className="primary" aria-disabled={busy}>
          {busy ? 'Signing in …' : 'Sign in'}
        </button>
        <p id={problem} role="alert" className="bad">
          {why}
        </p>
      </form>
    </main>
  );
}
