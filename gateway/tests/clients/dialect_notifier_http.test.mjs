// The notifier dialect's other half: what its front ends ask over HTTP, with axios as they do, and what their sockets hear of it.

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import axios from 'axios';

import { closeClients } from './clients.mjs';
import { each, FrontEnd, restartNodes, urlOf, whereItIsKept } from './dialects.mjs';
import { mintToken, startCluster, startNode } from './harness.mjs';

const SECRET = 'a secret for the tests only, long enough to be one';

/** What a front end sets up once. Statuses are looked at here. */
function api(url, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  return axios.create({ baseURL: url, headers, validateStatus: () => true });
}

const messages = ({ data }) => data.map(({ message }) => message);

whereItIsKept('notifier', { GATEWAY_AUTH__SECRET: SECRET }, (place) => {
  describe('with tokens', () => {
    const tokens = {};
    before(async () => {
      for (const name of ['alice', 'bob', 'carol']) tokens[name] = await mintToken(SECRET, '--user', name);
    });
    let turns = 0;
    /** Each through another node than the one before. */
    const person = (name) => ({ api: api(urlOf(place, turns++), tokens[name]), token: tokens[name] });
    const people = () => ({ alice: person('alice'), bob: person('bob') });
    const socket = (name) => new FrontEnd(name, urlOf(place, turns++), { auth: { token: tokens[name] } }).connect();

    test('what was sent while nobody was there is read when somebody is, on all devices', async () => {
      const { alice, bob } = people();
      const first = await alice.api.post('/api/notifications', { receiverId: 'bob', message: 'dinner? 🍝' });
      assert.equal(first.status, 201);
      const sender = await socket('alice');
      sender.emit('sendNotification', { receiverId: 'bob', message: 'or lunch?' });
      await sender.done();
      const list = await bob.api.get('/api/notifications/bob');
      assert.deepEqual(messages(list), ['or lunch?', 'dinner? 🍝']);
      const [, oldest] = list.data;
      assert.equal(oldest._id, first.data._id);
      assert.deepEqual([oldest.receiverId, oldest.isRead], ['bob', false]);
      assert.ok(Math.abs(new Date(oldest.timestamp) - Date.now()) < 600_000, oldest.timestamp);

      const [phone, laptop] = await Promise.all([socket('bob'), socket('bob')]);
      await each([phone, laptop], (one) => one.hears('notification:unread', [{ unread: 2 }]));
      const marked = await bob.api.put(`/api/notifications/${oldest._id}/read`);
      assert.deepEqual([marked.status, marked.data], [200, { message: 'Notification marked as read' }]);
      await each([phone, laptop], (one) => one.hears('notification:read', [{ id: oldest._id, unread: 1 }]));
      const live = await alice.api.post('/api/notifications', { receiverId: 'bob', message: 'now!' });
      await each([phone, laptop], (one) => one.hears('receiveNotification', [live.data]));
      assert.deepEqual(messages(await bob.api.get('/api/notifications/bob', { params: { unread: true } })), ['now!', 'or lunch?']);
      assert.deepEqual((await bob.api.get('/api/notifications/bob/unread')).data, { unread: 2 });
      assert.equal((await bob.api.put('/api/notifications/bob/read')).data.unread, 0);
      assert.equal((await bob.api.delete(`/api/notifications/${oldest._id}`)).status, 200);
      assert.equal((await bob.api.get('/api/notifications/bob')).data.length, 2);
      sender.emit('sendNotification', { receiverId: 'bob', message: 'and this' });
      await each([phone, laptop], (one) => one.hears('receiveNotification', [live.data], [{ message: 'and this' }]));
      assert.deepEqual(messages(await bob.api.get('/api/notifications/bob')), ['and this', 'now!', 'or lunch?']);
      for (const one of [sender, phone, laptop]) one.wasNeverRefused();
    });

    test('what is another one\'s is out of reach', async () => {
      const { alice, bob } = people();
      const { data } = await bob.api.post('/api/notifications', { receiverId: 'bob', message: 'to myself' });
      const nobody = api(place.cluster.url);
      assert.equal((await alice.api.get('/api/notifications/bob')).status, 403);
      assert.equal((await alice.api.put(`/api/notifications/${data._id}/read`)).status, 404);
      assert.equal((await alice.api.delete(`/api/notifications/${data._id}`)).status, 404);
      const refused = await nobody.get('/api/notifications/bob');
      assert.deepEqual([refused.status, refused.data.message], [401, 'Authentication error']);
      const [newest] = (await bob.api.get('/api/notifications/bob')).data;
      assert.deepEqual([newest._id, newest.isRead], [data._id, false]);
    });

    test('pages go on by themselves, and whatever JSON says comes back', async () => {
      const { alice, bob } = people();
      const sent = ['\u0000', 'half \ud83d', '😀'.repeat(15_000), { $set: { 'a.b': 1 } }, [null, 1.5]];
      for (const message of sent) {
        assert.equal((await alice.api.post('/api/notifications', { receiverId: 'alice', message })).status, 201);
      }
      const read = [];
      for (let next = '/api/notifications/alice?limit=2'; next; ) {
        const page = await alice.api.get(next);
        read.push(...messages(page));
        next = page.headers.link?.match(/<(.*)>; rel="next"/)[1];
      }
      assert.deepEqual(read.reverse(), sent);
      assert.equal((await bob.api.get('/api/notifications/alice')).status, 403);
    });

    test('every node says the same of it, also after all of them died', async () => {
      const sent = Array.from({ length: 9 }, (_, number) => `no. ${number}`);
      for (const message of sent) {
        assert.equal((await people().alice.api.post('/api/notifications', { receiverId: 'carol', message })).status, 201);
      }
      const carols = () => [0, ...place.cluster.nodes].map(() => person('carol').api);
      const [carol] = carols();
      const all = (await carol.get('/api/notifications/carol')).data;
      assert.deepEqual(messages({ data: all }), [...sent].reverse());
      assert.equal((await carol.put(`/api/notifications/${all[3]._id}/read`)).status, 200);
      all[3].isRead = true;
      const isSoEverywhere = async () => {
        await each(carols(), async (one) => {
          assert.deepEqual((await one.get('/api/notifications/carol')).data, all);
          assert.deepEqual((await one.get('/api/notifications/carol/unread')).data, { unread: 8 });
        });
        const devices = await Promise.all(carols().map(() => socket('carol')));
        await each(devices, (one) => one.hears('notification:unread', [{ unread: 8 }]));
      };
      await isSoEverywhere();
      closeClients();
      await restartNodes(place);
      await isSoEverywhere();
    });
  });
});

describe('without tokens', { timeout: 180_000 }, () => {
  const place = {};
  before(async () => {
    place.cluster = await startNode({ GATEWAY_PROFILE: 'notifier' });
  });
  afterEach(() => closeClients());
  after(() => place.cluster?.stop());

  test('front ends that bring none go on', async () => {
    const front = api(place.cluster.url);
    const user = '65a1b2c3d4e5f60718293a4b';
    const registers = await new FrontEnd('registers', place.cluster.url).connect();
    registers.emit('registerUser', user);
    await registers.hears('notification:unread', [{ unread: 0 }]);
    const { data } = await front.post('/api/notifications', { receiverId: user, message: 'hello' });
    await registers.hears('receiveNotification', [data]);
    assert.deepEqual(messages(await front.get(`/api/notifications/${user}`)), ['hello']);
    const marked = await front.put(`/api/notifications/${data._id}/read`);
    assert.deepEqual([marked.status, marked.data], [200, { message: 'Notification marked as read' }]);
    assert.equal((await front.get(`/api/notifications/${user}`)).data[0].isRead, true);
    registers.wasNeverRefused();
  });
});

describe('three nodes without a database', { timeout: 180_000 }, () => {
  const place = {};
  before(async () => {
    place.cluster = await startCluster({ GATEWAY_PROFILE: 'notifier' });
  });
  after(() => place.cluster?.stop());

  test('front ends are told that nothing is kept', async () => {
    for (const { url } of place.cluster.nodes) {
      const answer = await api(url).post('/api/notifications', { receiverId: 'bob', message: 'hello' });
      assert.deepEqual([answer.status, answer.data.code], [501, 'no_database']);
    }
  });
});
