// A chat that forgets nothing.

import { useEffect, useState } from 'react';

import { signIn, socket } from './socket';

function App() {
  const [name, setName] = useState('');
  const [status, setStatus] = useState('signed out');
  const [messages, setMessages] = useState([]);
  const [typing, setTyping] = useState([]);
  const [text, setText] = useState('');

  useEffect(() => {
    const onConnect = () => setStatus(socket.recovered ? 'recovered' : 'connected');
    const onDisconnect = () => setStatus('disconnected');
    const onMessage = (msg, serverOffset, author) => {
      socket.auth.serverOffset = serverOffset;
      setMessages((list) => [...list, { msg, serverOffset, author }]);
    };
    const onTyping = ({ user, typing: isTyping }) => {
      setTyping((list) => [...list.filter((other) => other !== user), ...(isTyping ? [user] : [])]);
    };
    socket.on('connect', onConnect);
    socket.on('disconnect', onDisconnect);
    socket.on('chat message', onMessage);
    socket.on('typing', onTyping);
    return () => {
      socket.off('connect', onConnect);
      socket.off('disconnect', onDisconnect);
      socket.off('chat message', onMessage);
      socket.off('typing', onTyping);
    };
  }, []);

  const handleSignIn = (e) => {
    e.preventDefault();
    if (name) signIn(name);
  };
  const handleChange = (e) => {
    setText(e.target.value);
    socket.emit('typing');
  };
  const handleSubmit = (e) => {
    e.preventDefault();
    if (!text) return;
    socket.emit('chat message', text);
    setText('');
  };

  return (
    <>
      <p role="status">{status}</p>
      {status === 'signed out' && (
        <form onSubmit={handleSignIn}>
          <input placeholder="Your name" value={name} onChange={(e) => setName(e.target.value)} />
          <button>Enter</button>
        </form>
      )}
      <ul aria-label="Messages">
        {messages.map(({ msg, serverOffset, author }) => (
          <li key={serverOffset}>
            {author}: {msg}
          </li>
        ))}
      </ul>
      <p id="typing">{typing.length > 0 && `${typing.join(', ')} is typing…`}</p>
      <form onSubmit={handleSubmit}>
        <input placeholder="Message" value={text} onChange={handleChange} />
        <button>Send</button>
      </form>
    </>
  );
}

export default App;
