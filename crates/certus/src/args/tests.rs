//! The command line is consistent, and aliases are exact expansions.

use std::ffi::OsString;

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

#[test]
fn the_commands_fit_together() {
    Cli::command().debug_assert();
}

#[test]
fn every_verb_shows_worked_examples() {
    fn walk(command: &clap::Command, path: &str, bare: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        if command.get_subcommands().next().is_none() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !help.contains("Examples:") {
                bare.push(path.clone());
            }
        }
        for below in command.get_subcommands() {
            walk(below, &path, bare);
        }
    }
    let mut bare = Vec::new();
    walk(&Cli::command(), "", &mut bare);
    assert!(bare.is_empty(), "no examples: {bare:?}");
}

#[test]
fn aliases_expand_exactly() {
    for (line, expected) in [
        ("certus worker start --id a", "certus node start --role worker --id a"),
        ("certus manager start", "certus node start --role manager"),
        ("certus node promote m2", "certus manager promote m2"),
        ("certus agent start --data-dir a", "certus node start --role agent --data-dir a"),
        ("certus --json --home worker worker start", "certus --json --home worker node start --role worker"),
        ("certus --log=json manager start", "certus --log=json node start --role manager"),
        ("certus cert list worker start", "certus cert list worker start"),
        ("certus tls init --output-dir c", "certus ca init --preset fleet --output-dir c"),
        ("certus cert ca --cn X", "certus ca init --preset mesh --cn X"),
        ("certus cert agent --cn a", "certus cert issue --role agent --cn a"),
        ("certus ca create-intermediate", "certus ca add-issuer"),
        ("certus ca create-server-cert web", "certus cert issue --role server web"),
        ("certus ca create-client-cert ann", "certus cert issue --role client ann"),
        ("certus ca sign web.csr", "certus cert sign web.csr"),
        ("certus ca revoke web", "certus cert revoke web"),
        ("certus ca check-expiry --days 30", "certus cert check --days 30"),
        ("certus cert needs-renewal a.crt", "certus cert check --due a.crt"),
        ("certus worker stop", "certus worker stop"),
        ("certus", "certus"),
        ("certus --manager", "certus --manager"),
    ] {
        assert_eq!(alias::expanded(words(line)), words(expected), "{line}");
    }
}

#[test]
fn every_alias_leads_to_a_command() {
    for (_, to) in alias::ALIASES {
        // With what the command still wants, its help is reached.
        let help = (to.last() != Some(&"--help")).then_some("--help");
        let argv = std::iter::once("certus").chain(to.iter().copied()).chain(help).map(OsString::from);
        assert!(matches!(parse(argv), Err(NoCommand::Asked(_))), "{to:?}");
    }
}

#[test]
fn a_wrong_word_is_named_with_what_was_meant() {
    let Err(NoCommand::Wrong(told)) = parse(words("certus cert list --expirin 30d")) else { panic!() };
    assert_eq!(told.code, code::USAGE);
    assert_eq!(told.message, "unexpected argument '--expirin' found");
    assert!(told.facts.contains(&("meant".into(), "--expiring".into())), "{:?}", told.facts);
    assert_eq!(told.hint.as_deref(), Some("certus cert list --help"));
}

#[test]
fn i7_a_token_in_a_wrong_place_is_not_repeated() {
    let token = "0123456789abcdef".repeat(4);
    for line in [format!("certus token revoke {token}"), format!("certus cert list {token}")] {
        let Err(NoCommand::Wrong(told)) = parse(words(&line)) else { panic!() };
        assert!(!told.to_string().contains(&token[..32]) && told.message.contains('…'), "{told}");
    }
}
