//! The numbers of a push job's lines, by state and billing month.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::calendar::BillingMonth;
use super::push::PushLineState;

/// The number of a job's lines with the same state and billing month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushLineCount {
    /// The lines' state.
    pub state: PushLineState,
    /// `None` in lines stored by earlier versions, which bill the job's month.
    pub billing_month: Option<BillingMonth>,
    /// The number of lines.
    pub lines: i64,
}

/// The counts of a job whose lines are all final, so that they no longer change. Printed and parsed as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FinalCounts(Vec<PushLineCount>);

impl FinalCounts {
    /// The given counts; `None` if a line may still change.
    pub fn new(counts: Vec<PushLineCount>) -> Option<Self> {
        counts.iter().all(|count| count.state.is_final()).then_some(Self(counts))
    }

    /// Each combination of state and month that a line has, with its number of lines. In no particular order.
    pub fn counts(&self) -> &[PushLineCount] {
        &self.0
    }
}

impl fmt::Display for FinalCounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for FinalCounts {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(state: PushLineState, month: Option<&str>) -> PushLineCount {
        PushLineCount { state, billing_month: month.map(|month| month.parse().unwrap()), lines: 3 }
    }

    #[test]
    fn only_final_lines_have_final_counts() {
        use PushLineState::{Failed, Held, Pending, Pushed};
        let counts = vec![count(Pushed, Some("2026-11")), count(Failed, None)];
        let stored = FinalCounts::new(counts.clone()).unwrap();
        assert_eq!(stored.to_string().parse::<FinalCounts>().unwrap().counts(), counts);
        assert_eq!(FinalCounts::new(vec![count(Pushed, None), count(Held, None)]), None);
        assert_eq!(FinalCounts::new(vec![count(Pending, None)]), None);
        assert!(FinalCounts::new(Vec::new()).is_some(), "a job without lines");
    }
}
