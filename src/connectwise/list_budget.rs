//! The memory that lists from ConnectWise may take, because a site that a tenant configures may send lists without an end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::custom_fields::CustomFields;
use super::error::CwError;
use crate::domain::ids::CwAgreementId;
use crate::domain::invoice_terms::Recap;
use crate::domain::records::{Addition, Agreement, CwCompany};

/// Maximum estimated memory in bytes of all lists in the process.
const MAX_ALL: usize = 48 * 1024 * 1024;
/// Maximum estimated memory in bytes of the lists of one connection: some 60,000 agreements.
const MAX_ONE: usize = 32 * 1024 * 1024;
/// The lists of a budget always find room up to this many bytes.
const SMALL: usize = 1024 * 1024;
/// When to read again a list that found no room.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(10);

/// The memory of the lists of all budgets.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// The memory of the lists of one connection.
pub(super) type ConnectionMemory = Arc<AtomicUsize>;

/// A record of a list.
pub(super) trait ListedRecord: Sized {
    /// Estimates the memory in bytes that the record refers to, such as its texts.
    fn referred(&self) -> usize;

    /// Estimates the record's memory in a list.
    fn memory(&self) -> usize {
        size_of::<Self>() + self.referred()
    }
}

fn texts<const N: usize>(texts: [Option<&String>; N]) -> usize {
    texts.into_iter().flatten().map(|text| text.len() + 16).sum()
}

impl ListedRecord for CwCompany {
    fn referred(&self) -> usize {
        texts([Some(&self.identifier), Some(&self.name), self.status.as_ref()])
    }
}

impl ListedRecord for Agreement {
    fn referred(&self) -> usize {
        let terms = [self.terms.billing_cycle.as_ref(), self.terms.currency.as_ref()];
        texts([Some(&self.name), self.type_name.as_ref(), self.status.as_ref()]) + texts(terms)
    }
}

impl ListedRecord for Addition {
    fn referred(&self) -> usize {
        texts([self.product_identifier.as_ref(), self.description.as_ref()])
    }
}

impl ListedRecord for (CwAgreementId, Recap) {
    /// Recaps are kept in a map.
    fn referred(&self) -> usize {
        2 * size_of::<Self>()
    }
}

impl ListedRecord for (Addition, CustomFields) {
    fn referred(&self) -> usize {
        self.0.referred() + self.1.memory()
    }
}

/// The memory of lists that are kept at the same time. Keep the budget as long as the lists: dropping it makes room for
/// others.
#[derive(Debug, Default)]
pub struct ListBudget {
    used: AtomicUsize,
    /// Known when the first list is read.
    connection: OnceLock<ConnectionMemory>,
}

impl ListBudget {
    /// Adds a record's memory. Errors if the lists are too long, or if other lists leave no room for a long one now.
    fn add(&self, bytes: usize, connection: &ConnectionMemory) -> Result<(), CwError> {
        let connection = self.connection.get_or_init(|| connection.clone());
        let add = |counter: &AtomicUsize| counter.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let (used, of_connection, all) = (add(&self.used), add(connection), add(&ALL));
        if used <= SMALL || (of_connection <= MAX_ONE && all <= MAX_ALL) {
            return Ok(());
        }
        for counter in [&self.used, connection, &ALL] {
            counter.fetch_sub(bytes, Ordering::Relaxed);
        }
        Err(if used > MAX_ONE {
            let limit = MAX_ONE / 1024 / 1024;
            CwError::InvalidResponse(format!("lists that need more than {limit} MiB of memory"))
        } else {
            CwError::Throttled(WAIT_FOR_ROOM)
        })
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        ALL.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(connection) = self.connection.get() {
            connection.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for ListBudget {
    fn drop(&mut self) {
        self.release(self.used.load(Ordering::Relaxed));
    }
}

/// The memory of a page that is being read. If the page fails, dropping this releases it.
pub(super) struct PageBudget<'b> {
    lists: &'b ListBudget,
    connection: &'b ConnectionMemory,
    used: usize,
}

impl<'b> PageBudget<'b> {
    pub(super) fn new(lists: &'b ListBudget, connection: &'b ConnectionMemory) -> Self {
        Self { lists, connection, used: 0 }
    }

    /// Adds a record's memory. See [`ListBudget::add`].
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), CwError> {
        self.lists.add(bytes, self.connection)?;
        self.used += bytes;
        Ok(())
    }

    /// Keeps the memory with the lists, because the page was read.
    pub(super) fn keep(mut self) {
        self.used = 0;
    }
}

impl Drop for PageBudget<'_> {
    fn drop(&mut self) {
        self.lists.release(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_fit_into_their_budget_and_all_into_that_of_the_process() {
        let [one, other, third]: [ConnectionMemory; 3] = Default::default();
        let [first, second, same, last, small]: [ListBudget; 5] = Default::default();
        assert!(first.add(MAX_ONE, &one).is_ok());
        assert!(matches!(first.add(1, &one), Err(CwError::InvalidResponse(_))));
        drop(first);
        let half = MAX_ONE / 2;
        assert!(second.add(half, &other).is_ok());
        assert!(matches!(same.add(half + 1, &other), Err(CwError::Throttled(_))), "one connection");
        assert!(last.add(MAX_ALL - half, &third).is_ok(), "what was rejected takes no room");
        assert!(small.add(SMALL, &one).is_ok(), "a small list always finds room");
        assert!(matches!(small.add(1, &one), Err(CwError::Throttled(_))), "all connections");
        drop(last);
        assert!(small.add(1, &one).is_ok());
        drop(second);
        {
            let mut failed = PageBudget::new(&same, &other);
            assert!(failed.add(MAX_ONE).is_ok());
        }
        let mut read = PageBudget::new(&same, &other);
        assert!(read.add(MAX_ONE).is_ok(), "a failed page takes no room");
        read.keep();
        assert!(matches!(same.add(1, &other), Err(CwError::InvalidResponse(_))));
    }
}
