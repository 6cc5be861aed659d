//! Webhooks: the events, the states of a delivery, and the times of its attempts.

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;

use super::string_enum::{ParseEnumError, string_enum};

string_enum! {
    /// The type of an event. An event about lines names up to 100 lines of one transaction; if there are more, several
    /// events are sent.
    EventType {
        /// A push job ended: `data` has its state, and the number of lines in each state.
        PushJobFinished = "push_job.finished",
        /// Push lines wait for approval; the `reason` of each says why.
        PushLineHeld = "push_line.held",
        /// Push lines failed, or it is unknown whether their quantity was written (`state` is `unverified`).
        PushLineFailed = "push_line.failed",
        /// The agreement or addition of billing lines was cancelled, ended or deleted. They are not pushed until
        /// somebody chooses another.
        MappingStale = "mapping.stale",
        /// Several agreements or additions match the rules for billing lines. They are not pushed until somebody
        /// chooses.
        MappingAmbiguous = "mapping.ambiguous",
        /// Usage stopped: enabled billing lines had usage, but no longer have any that can be billed.
        UsageMissing = "usage.missing",
        /// A push found that ConnectWise does not accept the connection, or cannot be reached at its address. Sent
        /// once, until ConnectWise answers again.
        ConnectionFailing = "connection.failing",
        /// A test: `POST /webhooks/{id}/test` was called.
        Test = "webhook.test",
    }
}

/// The events that a webhook receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTypes {
    /// All events, including those of later versions.
    All,
    /// Only these events.
    Some(Vec<EventType>),
}

impl EventTypes {
    /// Whether a webhook with these events receives an event. A test is always sent.
    pub fn contains(&self, event: EventType) -> bool {
        match self {
            Self::All => true,
            Self::Some(events) => event == EventType::Test || events.contains(&event),
        }
    }
}

/// The text of [`EventTypes::All`].
const ALL_EVENTS: &str = "*";

impl fmt::Display for EventTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(ALL_EVENTS),
            Self::Some(events) => {
                let names: Vec<&str> = events.iter().map(|event| event.as_str()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl FromStr for EventTypes {
    type Err = ParseEnumError;

    fn from_str(text: &str) -> Result<Self, ParseEnumError> {
        if text == ALL_EVENTS {
            return Ok(Self::All);
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Some)
    }
}

string_enum! {
    /// Why a webhook is disabled.
    DisabledReason {
        /// Somebody disabled it.
        ByHand = "by_hand",
        /// Its address responded with 410 (Gone).
        Gone = "gone",
        /// All deliveries failed for five days.
        Failing = "failing",
    }
}

string_enum! {
    /// The state of a delivery.
    DeliveryState {
        /// It is sent as soon as possible, or at `next_attempt_at`.
        Pending = "pending",
        /// The address responded with a 2xx status.
        Delivered = "delivered",
        /// No attempt was successful, and none will follow.
        Failed = "failed",
        /// The webhook was disabled before the delivery was successful.
        Cancelled = "cancelled",
    }
}

/// An event that changes the state of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryEvent {
    /// The address accepted it.
    Deliver,
    /// The last attempt failed.
    Fail,
    /// Its webhook was disabled.
    Cancel,
    /// An attempt failed, and another follows.
    Retry,
    /// Somebody sends it again.
    Resend,
}

/// The error for an event that a delivery's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {from} delivery cannot be changed by {event:?}")]
pub struct InvalidDeliveryStep {
    from: DeliveryState,
    event: DeliveryEvent,
}

impl DeliveryState {
    /// The state after an event; nothing else changes a state.
    pub fn after(self, event: DeliveryEvent) -> Result<Self, InvalidDeliveryStep> {
        match (self, event) {
            (Self::Pending, DeliveryEvent::Deliver) => Ok(Self::Delivered),
            (Self::Pending, DeliveryEvent::Fail) => Ok(Self::Failed),
            (Self::Pending, DeliveryEvent::Cancel) => Ok(Self::Cancelled),
            (Self::Pending, DeliveryEvent::Retry) => Ok(Self::Pending),
            (Self::Delivered | Self::Failed | Self::Cancelled, DeliveryEvent::Resend) => Ok(Self::Pending),
            (from, event) => Err(InvalidDeliveryStep { from, event }),
        }
    }
}

/// How long to wait after each failed attempt, in seconds: about three days in all. From the Standard Webhooks
/// specification, <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
const RETRY_SECONDS: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The longest pause after consecutive failures of one webhook, in seconds.
const LONGEST_PAUSE_SECONDS: i64 = 300;

/// After failing for this long without a success, a webhook is disabled.
pub const DISABLED_AFTER: TimeDelta = TimeDelta::days(5);

/// The longest wait that an address may ask for with `Retry-After`.
const LONGEST_RETRY_AFTER: TimeDelta = TimeDelta::days(1);

/// How long to wait after the given number of failed attempts; `None` if there is no further attempt. `random` varies
/// the wait by up to a fifth, so that deliveries that failed together are not tried again together. An address may ask
/// for a longer wait.
pub fn retry_wait(attempts: i64, asked_for: Option<TimeDelta>, random: u32) -> Option<TimeDelta> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    let seconds = *RETRY_SECONDS.get(index)?;
    let milliseconds = seconds * 1_000;
    // From -20 % to +20 %.
    let jitter = milliseconds * (i64::from(random % 401) - 200) / 1_000;
    let planned = TimeDelta::milliseconds(milliseconds + jitter);
    Some(asked_for.map_or(planned, |asked| planned.max(asked.min(LONGEST_RETRY_AFTER))))
}

/// How long all deliveries of a webhook pause after a number of consecutive failures.
pub fn pause_after(failures: i64, asked_for: Option<TimeDelta>) -> TimeDelta {
    let doubled = 1_i64.checked_shl(u32::try_from(failures.clamp(0, 20)).unwrap_or_default()).unwrap_or(i64::MAX);
    let planned = TimeDelta::seconds(doubled.min(LONGEST_PAUSE_SECONDS));
    asked_for.map_or(planned, |asked| planned.max(asked.min(LONGEST_RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_tried_for_about_three_days() {
        let waits: Vec<TimeDelta> = (1..).map_while(|attempts| retry_wait(attempts, None, 200)).collect();
        assert_eq!(waits.len(), 9);
        let all: TimeDelta = waits.iter().copied().sum();
        assert!(all > TimeDelta::hours(72) && all < TimeDelta::hours(80), "{all}");
        assert_eq!(retry_wait(1, None, 200), Some(TimeDelta::seconds(5)));
        assert_eq!(retry_wait(2, None, 0), Some(TimeDelta::seconds(240)));
        assert_eq!(retry_wait(2, None, 400), Some(TimeDelta::seconds(360)));
        assert_eq!(retry_wait(10, None, 0), None);
    }

    #[test]
    fn an_address_may_ask_for_a_longer_wait() {
        let hour = Some(TimeDelta::hours(1));
        assert_eq!(retry_wait(1, hour, 200), hour);
        assert_eq!(retry_wait(9, hour, 200), Some(TimeDelta::hours(24)));
        assert_eq!(retry_wait(1, Some(TimeDelta::days(400)), 200), Some(TimeDelta::days(1)));
        assert_eq!(pause_after(1, None), TimeDelta::seconds(2));
        assert_eq!(pause_after(60, None), TimeDelta::seconds(300));
        assert_eq!(pause_after(1, hour), TimeDelta::hours(1));
    }

    #[test]
    fn events_are_read_back() {
        for text in ["*", "push_job.finished", "push_line.held,mapping.stale"] {
            let events: EventTypes = text.parse().unwrap();
            assert_eq!(events.to_string(), text);
            assert!(events.contains(EventType::Test));
        }
        assert!("push_job.finished,nothing".parse::<EventTypes>().is_err());
        assert!(!EventTypes::Some(vec![EventType::PushLineHeld]).contains(EventType::PushLineFailed));
    }

    #[test]
    fn only_an_ended_delivery_is_sent_again() {
        use DeliveryState::{Cancelled, Delivered, Failed, Pending};
        for ended in [Delivered, Failed, Cancelled] {
            assert_eq!(ended.after(DeliveryEvent::Resend), Ok(Pending));
            for event in [DeliveryEvent::Deliver, DeliveryEvent::Fail, DeliveryEvent::Cancel, DeliveryEvent::Retry] {
                assert!(ended.after(event).is_err());
            }
        }
        assert!(Pending.after(DeliveryEvent::Resend).is_err());
    }
}
