// A chat whose users are told things: sign in with a token, then rooms and notifications.

import { useEffect, useState } from 'react';
import { io } from 'socket.io-client';

import { SERVER_URL } from './api';
import Email from './Email';
import Login from './Login';
import Notifications from './Notifications';
import Rooms from './Rooms';

function App() {
  const [userId, setUserId] = useState(localStorage.getItem('userId'));
  const [socket, setSocket] = useState(null);
  const [connected, setConnected] = useState(false);
  const [error, setError] = useState('');

  useEffect(() => {
    if (!userId) return;
    const token = localStorage.getItem('token');
    const newSocket = io(SERVER_URL, { auth: { token } });
    newSocket.on('connect', () => {
      if (!token) newSocket.emit('registerUser', userId);
      setConnected(true);
      setError('');
    });
    newSocket.on('disconnect', () => setConnected(false));
    newSocket.on('connect_error', (err) => setError(err.message));
    setSocket(newSocket);
    return () => newSocket.disconnect();
  }, [userId]);

  const logIn = (newUserId, token) => {
    localStorage.setItem('userId', newUserId);
    if (token) localStorage.setItem('token', token);
    setUserId(newUserId);
  };
  const logOut = () => {
    localStorage.clear();
    setUserId(null);
    setConnected(false);
    setError('');
  };

  if (!userId) return <Login onLogIn={logIn} />;
  return (
    <>
      <p>
        Signed in as {userId} <button onClick={logOut}>Log out</button>
      </p>
      {error && <p role="alert">{error}</p>}
      {connected && (
        <>
          <Notifications socket={socket} userId={userId} />
          <Rooms socket={socket} />
          <Email />
        </>
      )}
    </>
  );
}

export default App;
