// One talk: what was said in it, who types, and where to say something.

import { useState } from 'react';

import { Dialog } from '../../shared/Dialog';
import { because } from '../connection/words';
import { nameOf } from '../identity';
import type { Talk } from '../talks/state';
import { Announcer } from './Announcer';
import { Composer } from './Composer';
import { MessageList } from './MessageList';
import { People } from './People';

export function TalkView({ talk }: { talk: Talk }) {
  const [arePeopleOpen, openPeople] = useState(false);
  const isRoom = talk.kind === 'room';
  return (
    <main className="talk">
      <header className="talk-head">
        <h1 dir="auto">{nameOf(talk.name)}</h1>
        {/* The clipboard is there for pages over TLS, and of this machine. */}
        {isRoom && isSecureContext && <CopyLink />}
        {isRoom && (
          <button className="phone" aria-haspopup="dialog" onClick={() => openPeople(true)}>{talk.count} here</button>
        )}
      </header>
      {typeof talk.standing === 'object' && <p className="notice bad" role="alert">{because(talk.standing)}.</p>}
      <MessageList talk={talk} />
      <Announcer talk={talk} />
      <p className="typing" aria-live="polite">{typingWords(talk.typing)}</p>
      <Composer talk={talk} />
      <Dialog label="Who is here" isOpen={arePeopleOpen} onClose={() => openPeople(false)}>
        <People talk={talk} onChosen={() => openPeople(false)} />
      </Dialog>
    </main>
  );
}

function CopyLink() {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(location.href);
    setCopied(true);
  };
  return <button className="plain" onClick={copy} onBlur={() => setCopied(false)}>{isCopied ? 'Link copied' : 'Copy link'}</button>;
}

function typingWords(users: readonly string[]): string {
  const names = users.map((user) => (user === '' ? 'somebody' : nameOf(user)));
  if (names.length === 0) return '';
  if (names.length > 2) return `${names.length} people are typing`;
  return `${names.join(' and ')} ${names.length === 1 ? 'is' : 'are'} typing`;
}
