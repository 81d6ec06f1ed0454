// What the user is told, and ways to tell others something.

import { useCallback, useEffect, useState } from 'react';

import { fetchNotifications, markAsRead, sendNotification } from './api';

function Notifications({ socket, userId }) {
  const [notifications, setNotifications] = useState([]);
  const [toasts, setToasts] = useState([]);
  const [receiverId, setReceiverId] = useState('');
  const [message, setMessage] = useState('');

  const load = useCallback(() => {
    fetchNotifications(userId)
      .then(setNotifications)
      .catch((err) => console.error('Error fetching notifications:', err));
  }, [userId]);

  useEffect(() => {
    load();
    const onNotification = (notification) => {
      setToasts((list) => [...list, notification.message]);
      load();
    };
    socket.on('receiveNotification', onNotification);
    return () => socket.off('receiveNotification', onNotification);
  }, [socket, load]);

  const handleRead = async (id) => {
    await markAsRead(id);
    load();
  };
  const clear = () => setMessage('');
  const emitPrivate = () => {
    socket.emit('sendNotification', { receiverId, message });
    clear();
  };
  const postPrivate = async () => {
    await sendNotification(receiverId, message);
    clear();
  };
  const emitToAll = () => {
    socket.emit('broadcastNotification', message);
    clear();
  };

  return (
    <section>
      <h2>Notifications</h2>
      <ul aria-label="Toasts">
        {toasts.map((toast, index) => (
          <li key={index}>{toast}</li>
        ))}
      </ul>
      <ul aria-label="Notifications">
        {notifications.map(({ _id, message: text, isRead, timestamp }) => (
          <li key={_id} title={new Date(timestamp).toLocaleString()}>
            {text} {isRead ? <em>read</em> : <button onClick={() => handleRead(_id)}>Mark as read</button>}
          </li>
        ))}
      </ul>
      <input placeholder="Receiver" value={receiverId} onChange={(e) => setReceiverId(e.target.value)} />
      <input placeholder="Notification" value={message} onChange={(e) => setMessage(e.target.value)} />
      <button onClick={emitPrivate}>Tell</button>
      <button onClick={postPrivate}>Tell over HTTP</button>
      <button onClick={emitToAll}>Tell all</button>
    </section>
  );
}

export default Notifications;
