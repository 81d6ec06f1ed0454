// The connection, which remembers how far it has read.

import { io } from 'socket.io-client';

export const socket = io(import.meta.env.VITE_SERVER_URL, {
  autoConnect: false,
  auth: { userName: '', author: '', token: '', serverOffset: 0 },
});

export function signIn(name) {
  socket.auth.userName = name;
  socket.auth.author = name;
  socket.auth.token = localStorage.getItem('token') ?? '';
  socket.connect();
}
