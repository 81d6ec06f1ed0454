// Chat: in a room, to everybody, and into the feed.

import { useEffect, useState } from 'react';

function Rooms({ socket }) {
  const [room, setRoom] = useState('');
  const [message, setMessage] = useState('');
  const [chat, setChat] = useState([]);
  const [feed, setFeed] = useState([]);

  useEffect(() => {
    const onAlert = (text) => setChat((list) => [...list, text]);
    const onChat = (data) =>
      setChat((list) => [...list, typeof data === 'string' ? `to all: ${data}` : `${data.user}: ${data.message}`]);
    const onFeed = (data) => setFeed((list) => [...list, data.text]);
    socket.on('message', onAlert);
    socket.on('chatMessage', onChat);
    socket.on('receiveMessage', onFeed);
    return () => {
      socket.off('message', onAlert);
      socket.off('chatMessage', onChat);
      socket.off('receiveMessage', onFeed);
    };
  }, [socket]);

  const say = (event, data) => {
    socket.emit(event, data);
    setMessage('');
  };

  return (
    <section>
      <h2>Chat</h2>
      <input placeholder="Room" value={room} onChange={(e) => setRoom(e.target.value)} />
      <button onClick={() => socket.emit('joinRoom', room)}>Join</button>
      <input placeholder="Message" value={message} onChange={(e) => setMessage(e.target.value)} />
      <button onClick={() => say('chatMessage', { room, message })}>Say in the room</button>
      <button onClick={() => say('chatMessage', message)}>Say to all</button>
      <button onClick={() => say('sendMessage', { text: message })}>Post</button>
      <ul aria-label="Chat">
        {chat.map((text, index) => (
          <li key={index}>{text}</li>
        ))}
      </ul>
      <ul aria-label="Feed">
        {feed.map((text, index) => (
          <li key={index}>{text}</li>
        ))}
      </ul>
    </section>
  );
}

export default Rooms;
