// The page's part of Socket.IO, by hand, over websocket.
'use strict';
const show = (id) => document.getElementById(id);
let socket, acks, nextAck, room, last, token, timer, wait = 500;

function connect() {
  acks = new Map(); nextAck = 0;
  socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`);
  socket.onmessage = ({ data }) => {
    const payload = () => JSON.parse(data.slice(data.search(/[[{]/)));
    if (data[0] === '0') socket.send(`40${token ? JSON.stringify({ token }) : ''}`);
    else if (data[0] === '2') socket.send('3');
    else if (data.startsWith('40')) { wait = 500; status('connected'); if (room) join(room); }
    else if (data.startsWith('44')) status(payload().message);
    else if (data.startsWith('43')) { const id = parseInt(data.slice(2), 10); acks.get(id)?.(payload()[0]); acks.delete(id); }
    else if (data.startsWith('42')) heard(...payload());
  };
  socket.onclose = () => { status('connecting again …'); timer = setTimeout(connect, wait *= 1 + Math.random()); wait = Math.min(wait, 5000); };
}

// A token is kept nowhere: not in the address, which logs and histories remember, and not in the browser.
function signIn(text) {
  token = text.trim();
  socket.onclose = socket.onmessage = null;
  socket.close();
  clearTimeout(timer);
  connect();
}

function emit(event, argument, done) {
  if (socket.readyState !== WebSocket.OPEN) return status('not connected');
  acks.set(nextAck, (answer) => answer.ok ? done?.(answer) : status(answer.error.message));
  socket.send(`42${nextAck++}${JSON.stringify([event, argument])}`);
}

function join(name) {
  const after = name === room ? last : undefined;
  if (room && name !== room) { emit('leave', { room }); show('messages').replaceChildren(); last = undefined; }
  emit('join', { room: name, after }, (answer) => {
    room = name; last = last ?? answer.offset;
    status(`in ${name}`);
    for (const field of show('say').elements) field.disabled = false;
    show('text').focus();
  });
}

function heard(event, message, offset) {
  if (event !== 'message') return;
  last = offset;
  const line = document.createElement('li');
  line.textContent = `${new Date(message.at).toLocaleTimeString()} ${message.user ?? message.data?.name ?? 'someone'}: ${message.data?.text ?? JSON.stringify(message.data)}`;
  show('messages').append(line);
}

const name = `guest ${Math.floor(Math.random() * 900 + 100)}`;
const status = (text) => { show('status').textContent = `${name}, ${text}`; };
show('sign-in').onsubmit = (event) => { event.preventDefault(); signIn(show('token').value); };
show('join').onsubmit = (event) => { event.preventDefault(); join(show('room').value); };
show('say').onsubmit = (event) => {
  event.preventDefault();
  const text = show('text').value;
  if (text) emit('publish', { room, data: { name, text } }, () => { show('text').value = ''; });
};
connect();
