//! The house test: what reviewers would otherwise have to remember, checked by a program.
//!
//! Each rule is one function that returns what breaks it, one message per place: `file:line`, what
//! stands there, what to write instead. A new rule is a new function and a test of one line.
#![allow(clippy::print_stderr, reason = "long files are listed where they do not yet fail")]

mod bans;
mod codes;
mod edges;
mod files;
mod invariants;
mod source;

use source::Tree;

#[test]
fn i1_rooms_use_only_the_rooms_below_them() {
    report(edges::between_rooms());
}

#[test]
fn i1_rooms_keep_foreign_crates_out() {
    report(edges::foreign_crates());
}

#[test]
fn the_architecture_draws_the_rooms_as_they_are() {
    report(edges::drawn_otherwise(&Tree::read()));
}

#[test]
fn dependencies_stand_in_the_workspace_table() {
    report(edges::outside_the_table(&Tree::read()));
}

#[test]
fn i1_banned_calls_do_not_occur() {
    report(bans::broken(&Tree::read()));
}

#[test]
fn i3_no_dependency_leads_from_a_node_to_an_issuers_key() {
    report(edges::from_node_to_issuer_keys());
}

#[test]
fn i3_nothing_that_nodes_are_made_of_can_sign_for_the_cluster() {
    report(bans::signing_in_nodes(&Tree::read()));
}

#[test]
fn every_file_opens_with_its_job() {
    report(files::without_module_doc(&Tree::read()));
}

#[test]
fn no_file_is_too_long() {
    let tree = Tree::read();
    for note in files::worth_splitting(&tree) {
        eprintln!("note: {note}");
    }
    report(files::too_long(&tree));
}

#[test]
fn no_file_names_the_place_it_was_written_in() {
    report(files::naming_the_workplace(&Tree::read()));
}

#[test]
fn every_invariant_has_a_test_that_wears_its_number() {
    report(invariants::unproven(&Tree::read()));
}

#[test]
fn every_error_code_has_an_entry_in_troubleshooting() {
    report(codes::unexplained(&Tree::read()));
}

/// Fails with all complaints at once: they are mended in one sitting.
fn report(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n\n{}\n", complaints.join("\n"));
}
