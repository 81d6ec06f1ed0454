// The console: who is signed in sees the cluster.

import { SocketProvider } from './link/SocketProvider';
import { Announcer } from './parts/Announcer';
import { Confirming } from './parts/Confirm';
import { Shell } from './Shell';
import { SignIn } from './SignIn';

export function Console() {
  return (
    <Announcer>
      <SocketProvider SignIn={SignIn}>
        <Confirming>
          <Shell />
        </Confirming>
      </SocketProvider>
    </Announcer>
  );
}
