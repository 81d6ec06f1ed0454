// A mail to somebody who may never have been here.

import { useState } from 'react';

import { sendEmail } from './api';

function Email() {
  const [email, setEmail] = useState('');
  const [subject, setSubject] = useState('');
  const [answer, setAnswer] = useState('');

  const handleSubmit = async (e) => {
    e.preventDefault();
    try {
      setAnswer(await sendEmail(email, subject, `${subject}: come and see.`));
    } catch (err) {
      setAnswer(err.response?.data.message ?? err.message);
    }
  };

  return (
    <form onSubmit={handleSubmit}>
      <h2>E-mail</h2>
      <input placeholder="E-mail" value={email} onChange={(e) => setEmail(e.target.value)} />
      <input placeholder="Subject" value={subject} onChange={(e) => setSubject(e.target.value)} />
      <button>Send e-mail</button>
      <p role="status">{answer}</p>
    </form>
  );
}

export default Email;
