//! Compares everything that should be billed in a month with what ConnectWise bills, in units and in money.

mod additions_without_line;
pub mod history;
mod item;
mod lines;
mod page;
mod reconcile;
mod totals;

pub use item::{Item, ReconciliationScope};
pub use page::{ItemFilter, NamedItem, ReconciliationSort, all, page};
pub use reconcile::reconcile;
pub use totals::{KindTotals, MoneyTotals, ProductTotals, Totals, WarningTotals, totals};
