//! Every refusal explains itself.

use super::*;
use crate::format::tests::examples::refusals;

#[test]
fn every_refusal_is_one_line_with_a_code_of_its_own_room() {
    for refusal in refusals() {
        let explained = refusal.explain();
        let message = &explained.message;
        assert!(code::ALL.contains(&explained.code), "{refusal:?}");
        assert!(!message.ends_with('.') && !message.contains('\n'), "{message}");
        assert!(!message.starts_with(char::is_uppercase), "{message}");
    }
}

#[test]
fn what_a_node_or_an_operator_can_meet_says_what_to_do_next() {
    let ours = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::PlanMismatch { .. }
                | Refusal::SerialRepeated { .. }
                | Refusal::RootNotActive { .. }
                | Refusal::AlreadyExists { .. }
                | Refusal::AlreadyRevoked { .. }
                | Refusal::OutOfBounds { .. }
                | Refusal::RenewalBarred { why: Barred::NotItsCert, .. }
        )
    };
    for refusal in refusals().iter().filter(|refusal| !ours(refusal)) {
        assert!(refusal.explain().hint.is_some(), "{refusal:?}");
    }
}
