// Who is in a room, on all nodes; a name opens a private talk.

import { useConnection } from '../connection/SocketProvider';
import { nameOf } from '../identity';
import { linkTo } from '../talks/places';
import type { Talk } from '../talks/state';

export function People({ talk, onChosen }: { talk: Talk; onChosen?: () => void }) {
  const { identity } = useConnection();
  const me = identity.kind === 'nobody' ? null : identity.user;
  const users = talk.members.flatMap(({ user }) => (user === null ? [] : [user]));
  const nameless = talk.members.length - users.length;
  const unlisted = talk.count - talk.members.length;
  return (
    <>
      <h2>{talk.count} here</h2>
      <ul className="members">
        {users.map((user) => (
          <li key={user}>
            {user === me || me === null ? <bdi>{nameOf(user)}{user === me && ' (you)'}</bdi> : (
              <a href={linkTo('direct', user)} onClick={onChosen} aria-label={`Write to ${nameOf(user)} privately`}><bdi>{nameOf(user)}</bdi></a>
            )}
          </li>
        ))}
        {nameless > 0 && <li className="faint">{nameless} without a name</li>}
        {unlisted > 0 && <li className="faint">{unlisted} more</li>}
      </ul>
    </>
  );
}
