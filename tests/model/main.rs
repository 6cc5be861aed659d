//! A model of how workers share push lines, checked exhaustively for two workers, two jobs and two additions.
//!
//! It has the steps of `src/services/push`: a worker claims all lines of an agreement, reads its additions, stores the
//! quantity that ConnectWise has (`from`) and renews the lease with it, sends the write, and stores the result. The
//! model stores `from` of both additions in one transaction, and both results in one. The code does so for each line
//! separately, which leaves fewer lines between two steps. Held lines, cancelling and reading back are not modelled.
//! Time passes at any point, as for a process that is stopped; a worker can die at any point; a request can be lost
//! before or after it takes effect. The only assumption is the request timeout: after it, a request has taken effect
//! or never will.
//!
//! Four variants of the protocol, each without one of its safeguards, must fail.

mod protocol;
mod state;

use stateright::{Checker, HasDiscoveries, Model};

use protocol::{Protocol, Safeguard};

/// The properties that do not hold, by name.
fn broken(model: Protocol) -> Vec<&'static str> {
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    assert!(checker.is_done() && checker.unique_state_count() > 1_000, "{} states", checker.unique_state_count());
    checker.discoveries().into_keys().filter(|name| !name.starts_with("reachable")).collect()
}

#[test]
fn the_protocol_holds() {
    assert_eq!(broken(Protocol::complete()), Vec::<&str>::new());
}

#[test]
fn every_line_can_be_finished_and_a_lost_write_repeated() {
    let reachable = ["reachable: every line is finished", "reachable: a lost write is written again"];
    let both = HasDiscoveries::AllOf(reachable.into());
    let checker = Protocol::complete().checker().threads(2).finish_when(both).spawn_bfs().join();
    reachable.iter().for_each(|name| drop(checker.assert_any_discovery(name)));
}

#[test]
fn without_the_fence_it_fails() {
    assert_ne!(broken(Protocol::without(Safeguard::Fence)), Vec::<&str>::new());
}

#[test]
fn with_the_old_quantity_stored_after_the_write_it_fails() {
    assert_ne!(broken(Protocol::without(Safeguard::FromBeforeWrite)), Vec::<&str>::new());
}

#[test]
fn without_the_renewal_of_the_lease_it_fails() {
    assert_ne!(broken(Protocol::without(Safeguard::Renewal)), Vec::<&str>::new());
}

#[test]
fn without_the_takeover_it_fails() {
    assert_ne!(broken(Protocol::without(Safeguard::Takeover)), Vec::<&str>::new());
}
