// Who is it, and what proves it?

import { useState } from 'react';

function Login({ onLogIn }) {
  const [userId, setUserId] = useState('');
  const [token, setToken] = useState('');

  const handleSubmit = (e) => {
    e.preventDefault();
    if (userId) onLogIn(userId, token);
  };

  return (
    <form onSubmit={handleSubmit}>
      <input placeholder="User" value={userId} onChange={(e) => setUserId(e.target.value)} />
      <input placeholder="Token" value={token} onChange={(e) => setToken(e.target.value)} />
      <button>Log in</button>
    </form>
  );
}

export default Login;
