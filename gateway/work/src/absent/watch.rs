//! Who is there: of whoever comes and goes it is noted when, and the address that the token brings.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use gateway_core::auth::MailClaims;
use gateway_core::contacts::{Address, By, Contacts, Mark};
use gateway_core::domain::UserId;
use gateway_core::metrics::Metrics;
use gateway_core::node::{Node, RosterChange, now_ms};
use gateway_core::port::PortError;
use gateway_core::recurring::Recurring;

/// How many are noted at the same time.
const AT_ONCE: usize = 16;
/// How many are taken together: who comes and goes meanwhile is noted once.
const TOGETHER: usize = 512;

/// Notes who is there.
pub struct Watch {
    node: Arc<Node>,
    contacts: Arc<dyn Contacts>,
    namespace: String,
    /// Whether addresses come from tokens.
    tokens: bool,
    trouble: Recurring,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Watch {
    /// Of the sessions of one namespace, in which notifications are heard.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        contacts: Arc<dyn Contacts>,
        namespace: &str,
        tokens: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        let trouble = Recurring::new("it is not noted who is there: somebody may get mail of what they have heard");
        Self { node, contacts, namespace: namespace.to_owned(), tokens, trouble, metrics }
    }

    /// Notes who comes and goes, for ever.
    pub async fn run(self) {
        let mut changes = self.node.roster().changes();
        // Who was there before.
        self.note_all().await;
        loop {
            let mut together = Vec::new();
            let mut lost = false;
            match changes.recv().await {
                Ok(change) => together.push(change),
                Err(RecvError::Lagged(_)) => lost = true,
                Err(RecvError::Closed) => return,
            }
            while together.len() < TOGETHER {
                match changes.try_recv() {
                    Ok(change) => together.push(change),
                    Err(TryRecvError::Lagged(_)) => lost = true,
                    Err(_) => break,
                }
            }
            // Whoever went meanwhile is not known any more, but whoever is still there is.
            if lost {
                self.note_all().await;
            }
            self.note(together).await;
        }
    }

    async fn note_all(&self) {
        let now = now_ms();
        let all = self.node.roster().all();
        let here = all.iter().filter(|session| *session.namespace == *self.namespace);
        let users = here.filter_map(|session| {
            let identity = session.identity();
            Some((identity.user.clone()?, identity.mail.clone(), now))
        });
        self.put_down(users.collect()).await;
    }

    async fn note(&self, changes: Vec<RosterChange>) {
        let mut known = HashSet::new();
        // Of each user the last counts.
        let here = changes.into_iter().rev().filter(|change| *change.namespace == *self.namespace);
        let users = here.filter_map(|change| {
            let at = change.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            Some((change.user?, change.mail, u64::try_from(at).unwrap_or(u64::MAX)))
        });
        let users = users.filter(|(user, ..)| known.insert(user.clone())).collect();
        self.put_down(users).await;
    }

    async fn put_down(&self, users: Vec<(UserId, Option<Arc<MailClaims>>, u64)>) {
        stream::iter(users)
            .for_each_concurrent(AT_ONCE, |(user, mail, at)| async move {
                if let Err(error) = self.put_down_one(&user, mail.as_deref(), at).await {
                    self.metrics.contact_errors.with(error.operation).increment(1);
                    self.trouble.note(|what| error.tell(what));
                }
            })
            .await;
    }

    async fn put_down_one(&self, user: &UserId, mail: Option<&MailClaims>, at: u64) -> Result<(), PortError> {
        if let Some(MailClaims { email, name }) = mail.filter(|_| self.tokens) {
            let address = Address { email: email.clone(), name: name.clone() };
            self.contacts.put(user, &address, By::Token).await?;
        }
        self.contacts.mark(user, Mark::Seen, at).await
    }
}
