//! The memory that lists from ConnectWise may take, because a site that a tenant configures may send lists without an end.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::CwError;

/// Maximum memory in bytes of all lists in the process: some 140,000 agreements.
const MAX_ALL: usize = 96 * 1024 * 1024;
/// Maximum memory in bytes of the lists of one budget.
const MAX_ONE: usize = 48 * 1024 * 1024;

/// The memory of the lists of all budgets.
static ALL: AtomicUsize = AtomicUsize::new(0);

/// The memory of lists that are kept at the same time. Keep the budget as long as the lists: dropping it makes room for
/// others.
#[derive(Debug, Default)]
pub struct ListBudget {
    used: AtomicUsize,
}

impl ListBudget {
    /// Adds part of a list, with an upper bound of its memory. Errors if the list is too long, or if other lists leave no
    /// room for it now.
    pub(super) fn add(&self, bytes: usize) -> Result<(), CwError> {
        let one = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = ALL.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if one > MAX_ONE {
            let limit = MAX_ONE / 1024 / 1024;
            return Err(CwError::InvalidResponse(format!("lists that need more than {limit} MiB of memory")));
        }
        if all > MAX_ALL {
            return Err(CwError::Unavailable("too many long lists are being read at the same time".to_owned()));
        }
        Ok(())
    }
}

impl Drop for ListBudget {
    fn drop(&mut self) {
        ALL.fetch_sub(*self.used.get_mut(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_fit_into_their_budget_and_all_into_that_of_the_process() {
        let (first, second, third) = (ListBudget::default(), ListBudget::default(), ListBudget::default());
        let half = MAX_ONE / 2;
        assert!(first.add(half).is_ok() && first.add(half).is_ok());
        assert!(second.add(half).is_ok());
        assert!(matches!(first.add(1), Err(CwError::InvalidResponse(_))));
        assert!(matches!(third.add(MAX_ONE), Err(CwError::Unavailable(_))));
        drop((first, third));
        assert!(second.add(half).is_ok(), "there is room again");
    }
}
