// Mailpit: a mail server that shows over REST what it got.

import path from 'node:path';

import { Server } from './server.mjs';

const program = path.join(import.meta.dirname, '../../../.tools/bin/mailpit');

export class Mailpit extends Server {
  static async start() {
    const mailpit = new Mailpit('mailpit');
    const at = (smtp, shown) => ['--quiet', '--disable-version-check', '--smtp', `127.0.0.1:${smtp}`, '--listen', `127.0.0.1:${shown}`];
    const isReady = async (_, shown) => (await fetch(`http://127.0.0.1:${shown}/api/v1/messages`).catch(() => null))?.ok;
    await mailpit.run(program, at, {}, isReady, 2);
    return mailpit;
  }

  get smtpPort() {
    return this.ports[0];
  }

  get url() {
    return `http://127.0.0.1:${this.ports[1]}`;
  }

  async #get(what) {
    return (await fetch(`${this.url}/api/v1/${what}`)).json();
  }

  /** What it got for an address: whole mails. */
  async of(address) {
    const { messages } = await this.#get('messages?limit=1000');
    const found = messages.filter(({ To }) => To.some(({ Address }) => Address === address));
    return Promise.all(found.map(({ ID }) => this.#get(`message/${ID}`)));
  }
}
