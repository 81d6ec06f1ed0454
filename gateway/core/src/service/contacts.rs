//! Where users get mail, and whether they want any.

use super::Service;
use crate::contacts::By;
use crate::domain::{Refusal, UserId};
use crate::port::PortError;

pub use crate::contacts::{Address, Contact};

impl Service {
    /// What is known of a user who has an address.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn contact(&self, user: &UserId) -> Result<Option<Contact>, Refusal> {
        self.behind.contacts.find(user).await.map_err(|error| self.no_contacts(&error))
    }

    /// Keeps the address of a user, and whether mail is wanted, if that is said.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn put_contact(&self, user: &UserId, address: &Address, wants: Option<bool>) -> Result<(), Refusal> {
        let contacts = &self.behind.contacts;
        contacts.put(user, address, By::BackEnd).await.map_err(|error| self.no_contacts(&error))?;
        if let Some(wants) = wants {
            contacts.subscribe(user, wants).await.map_err(|error| self.no_contacts(&error))?;
        }
        Ok(())
    }

    /// Forgets the address of a user; false if there is none. That mail is not wanted stays known.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn remove_contact(&self, user: &UserId) -> Result<bool, Refusal> {
        self.behind.contacts.remove(user).await.map_err(|error| self.no_contacts(&error))
    }

    fn no_contacts(&self, error: &PortError) -> Refusal {
        self.behind.metrics.contact_errors.with(error.operation).increment(1);
        error.tell("the store of contacts does not do what a back end asks");
        Refusal::Unavailable
    }
}
