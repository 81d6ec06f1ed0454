// One room: what is said in it, who joins it, and a word by mail to whoever leaves its tab hidden.

import { useEffect, useState } from 'react';

const FIVE_MINUTES = 5 * 60 * 1000;

function Chat({ socket, id, username, email, room }) {
  const [currentMessage, setCurrentMessage] = useState('');
  const [messageList, setMessageList] = useState([]);
  const [alerts, setAlerts] = useState([]);

  const sendMessage = (event) => {
    event.preventDefault();
    if (currentMessage === '') return;
    const now = new Date();
    const messageData = {
      id,
      room,
      email,
      sender: username,
      message: currentMessage,
      time: now.getHours() + ':' + now.getMinutes(),
    };
    socket.emit('send_message', messageData);
    setMessageList((list) => [...list, messageData]);
    setCurrentMessage('');
  };

  useEffect(() => {
    const onMessage = (data) => setMessageList((list) => [...list, data]);
    const onJoined = (data) => setAlerts((list) => [...list, `${data.username} joined ${data.room}`]);
    socket.on('recieve_message', onMessage);
    socket.on('user_joined', onJoined);
    return () => {
      socket.off('recieve_message', onMessage);
      socket.off('user_joined', onJoined);
    };
  }, [socket]);

  useEffect(() => {
    let timer;
    const onVisibilityChange = () => {
      clearInterval(timer);
      if (document.visibilityState === 'hidden') {
        timer = setInterval(() => {
          socket.emit('notify-user', { id, room, sender: username, email });
        }, FIVE_MINUTES);
      }
    };
    document.addEventListener('visibilitychange', onVisibilityChange);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', onVisibilityChange);
    };
  }, [socket, id, room, username, email]);

  return (
    <main>
      <h1>Room {room}</h1>
      <ul aria-label="Alerts">
        {alerts.map((alert, index) => (
          <li key={index}>{alert}</li>
        ))}
      </ul>
      <ul aria-label="Messages">
        {messageList.map((data, index) => (
          <li key={index} className={data.sender === username ? 'you' : 'other'}>
            {data.sender}: {data.message}
          </li>
        ))}
      </ul>
      <form onSubmit={sendMessage}>
        <input
          placeholder="Message"
          value={currentMessage}
          onChange={(event) => setCurrentMessage(event.target.value)}
        />
        <button type="submit">Send</button>
      </form>
    </main>
  );
}

export default Chat;
