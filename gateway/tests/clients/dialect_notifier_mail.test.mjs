// The notifier dialect's background work: mail that its front ends ask for, by axios and by curl, now and later.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, test } from 'node:test';
import { promisify } from 'node:util';

import axios from 'axios';

import { everywhere, urlOf } from './dialects.mjs';
import { eventually } from './harness.mjs';
import { Mailpit } from './mailpit.mjs';

const mailpit = await Mailpit.start();
after(() => mailpit.stop());

const settings = {
  GATEWAY_MAIL__HOST: '127.0.0.1',
  GATEWAY_MAIL__PORT: `${mailpit.smtpPort}`,
  GATEWAY_MAIL__TLS: 'none',
  GATEWAY_MAIL__FROM: 'shop@example.test',
};

let turns = 0;
const freshAddress = () => `user${++turns}@example.test`;

everywhere('notifier', settings, (place) => {
  test('axios has mail sent', async () => {
    const email = freshAddress();
    const asked = { email, subject: 'Grüße 🌍', message: 'Bis <bald>!' };
    const { data, status } = await axios.post(`${urlOf(place, 0)}/jobs/send-email`, asked);
    assert.deepEqual([status, data], [200, { message: 'Email task added to queue' }]);
    const [mail] = await eventually('it arrives', async () => {
      const mails = await mailpit.of(email);
      return mails.length > 0 && mails;
    });
    assert.equal(mail.Subject, asked.subject);
    assert.equal(mail.Text.trim(), asked.message);
    assert.match(mail.HTML, /Bis &lt;bald&gt;!/);
  });

  test('axios has mail sent later, by whichever node', async () => {
    const sent = [];
    for (let turn = 0; turn < 4; turn++) {
      const email = freshAddress();
      const asked = { email, subject: `later ${turn}`, message: 'x', delay: 2000 };
      const { data } = await axios.post(`${urlOf(place, turn)}/jobs/schedule-email`, asked);
      assert.deepEqual(data, { message: 'Email scheduled to be sent in 2 seconds' });
      sent.push({ email, at: Date.now() });
    }
    for (const { email, at } of sent) {
      const mails = await eventually('it arrives', async () => {
        const mails = await mailpit.of(email);
        return mails.length > 0 && mails;
      });
      assert.equal(mails.length, 1);
      assert.ok(new Date(mails[0].Date).getTime() >= at + 1000 || Date.now() >= at + 2000, 'not before its time');
    }
  });

  test('curl has mail sent, and hears what is wrong', async () => {
    const curl = async (path, body) => {
      const args = ['-sS', '-H', 'Content-Type: application/json', '-d', JSON.stringify(body), `${urlOf(place, 0)}${path}`];
      return JSON.parse((await promisify(execFile)('curl', args)).stdout);
    };
    const email = freshAddress();
    const done = await curl('/jobs/send-email', { email, subject: 'by curl', message: 'x' });
    assert.deepEqual(done, { message: 'Email task added to queue' });
    await eventually('it arrives', async () => (await mailpit.of(email)).length === 1);
    const wrong = await curl('/jobs/send-email', { email: 'nobody', subject: 'x', message: 'x' });
    assert.equal(wrong.code, 'bad_request');
    const denied = await curl('/trigger-job', {});
    assert.equal(denied.code, 'not_allowed');
  });
});
