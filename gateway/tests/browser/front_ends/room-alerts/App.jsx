// A chat with rooms: a form to join one, then the room.

import { useState } from 'react';
import { io } from 'socket.io-client';

import Chat from './Chat';

// Who this browser is, also when it comes back.
const id = localStorage.getItem('id') ?? Math.random().toString(36).slice(2);
localStorage.setItem('id', id);

const socket = io(import.meta.env.VITE_SERVER_URL);

function App() {
  const [username, setUsername] = useState('');
  const [email, setEmail] = useState('');
  const [room, setRoom] = useState('');
  const [showChat, setShowChat] = useState(false);

  const joinRoom = (event) => {
    event.preventDefault();
    if (username !== '' && room !== '') {
      socket.emit('join_room', { username, email, room });
      setShowChat(true);
    }
  };

  if (showChat) {
    return <Chat socket={socket} id={id} username={username} email={email} room={room} />;
  }
  return (
    <form onSubmit={joinRoom}>
      <h1>Join a chat</h1>
      <input placeholder="Name" value={username} onChange={(event) => setUsername(event.target.value)} />
      <input placeholder="E-mail" value={email} onChange={(event) => setEmail(event.target.value)} />
      <input placeholder="Room" value={room} onChange={(event) => setRoom(event.target.value)} />
      <button type="submit">Join a room</button>
    </form>
  );
}

export default App;
