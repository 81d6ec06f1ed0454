//! Two Redis servers and three Sentinels that make the other one the primary when one is gone.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::support::redis::Redis;
use super::support::topology::{Sentinels, replica_of};
use super::torn::Torn;

/// How long a failover may take, and until the old primary is the new one's replica: Sentinels look every 10 s, and on a
/// busy machine they need several attempts.
const FAILOVER: Duration = Duration::from_secs(90);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(15);
/// For how long a primary must be silent. Longer than anything that a busy machine does to it.
const DOWN_AFTER: Duration = Duration::from_secs(2);

/// What a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Primary,
    /// A replica that does not follow its primary yet.
    Replica,
    /// One that does.
    Follower,
    /// It does not answer.
    Nobody,
}

pub(crate) struct Watched {
    servers: [Redis; 2],
    sentinels: Sentinels,
}

impl Watched {
    pub(crate) async fn start() -> Self {
        let primary = Redis::start().await;
        let replica = replica_of(&primary).await;
        let sentinels = Sentinels::watch(&primary, DOWN_AFTER).await;
        Self { servers: [primary, replica], sentinels }
    }

    pub(crate) fn url(&self) -> String {
        self.sentinels.url()
    }

    /// Has the Sentinels make the other server the primary: they are asked to, or the primary is killed. Until the old
    /// one takes nothing more, what it takes may be lost, and is `torn`. Returns when all is as before, the other way round.
    pub(crate) async fn fail_over(&mut self, politely: bool, torn: &Torn) -> Result<(), String> {
        let deadline = Instant::now() + FAILOVER;
        let is_well = |roles: [Role; 2]| roles.contains(&Role::Primary) && roles.contains(&Role::Follower);
        let Some(roles) = self.until(deadline, is_well).await else {
            return Err("there is no primary that could fail".to_owned());
        };
        let old = usize::from(roles[1] == Role::Primary);
        if politely {
            self.ask(deadline).await?;
        } else {
            self.servers[old].kill();
        }
        // A client that has not heard of it may have the old one take something until that is a replica.
        torn.begin();
        let is_promoted = |roles: [Role; 2]| roles[1 - old] == Role::Primary;
        let promoted = |roles: [Role; 2]| {
            torn.go_on();
            is_promoted(roles)
        };
        while self.until(deadline.min(Instant::now() + ATTEMPT), promoted).await.is_none() {
            if Instant::now() >= deadline {
                return Err("nobody took over".to_owned());
            }
            if politely {
                // What they were asked for and gave up, as the other server was slow, they do not begin again by themselves.
                self.ask(deadline).await?;
            }
        }
        if !politely {
            self.servers[old].start_again().await;
        }
        let takes_nothing = |roles: [Role; 2]| {
            torn.go_on();
            matches!(roles[old], Role::Replica | Role::Follower)
        };
        let demoted = self.until(deadline, takes_nothing).await;
        let is_settled = |roles: [Role; 2]| is_promoted(roles) && roles[old] == Role::Follower;
        let settled = self.until(deadline, is_settled).await;
        demoted.and(settled).map(drop).ok_or_else(|| "the old primary does not follow the new one".to_owned())
    }

    /// Asks the Sentinels until they have seen that there is a replica that could take over.
    async fn ask(&self, deadline: Instant) -> Result<(), String> {
        loop {
            let answer = self.sentinels.fail_over().await;
            if answer.starts_with("+OK") {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(format!("a Sentinel to a failover: {answer}"));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Looks until the servers are as they should be; nothing if that does not come in time.
    async fn until(&self, deadline: Instant, is_it: impl Fn([Role; 2]) -> bool + Send) -> Option<[Role; 2]> {
        loop {
            let roles = [self.role(0).await, self.role(1).await];
            if is_it(roles) {
                return Some(roles);
            }
            if Instant::now() >= deadline {
                return None;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn role(&self, server: usize) -> Role {
        let about = self.servers[server].command("INFO replication").await;
        match about {
            about if about.contains("role:master") => Role::Primary,
            about if about.contains("master_link_status:up") => Role::Follower,
            about if about.contains("role:slave") => Role::Replica,
            _ => Role::Nobody,
        }
    }

    /// Ends every connection of every node.
    pub(crate) async fn kill_connections(&self) {
        for server in &self.servers {
            for kind in ["pubsub", "normal"] {
                server.command(&format!("CLIENT KILL TYPE {kind} SKIPME yes")).await;
            }
        }
    }
}
