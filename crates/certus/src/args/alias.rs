//! Other spellings of commands: exact expansions before parsing. No alias has code of its own.

use std::ffi::OsString;

/// Words at the place of the command, and the words that replace them.
pub(super) const ALIASES: &[(&[&str], &[&str])] = &[
    (&["worker", "start"], &["node", "start", "--role", "worker"]),
    (&["manager", "start"], &["node", "start", "--role", "manager"]),
    (&["agent", "start"], &["node", "start", "--role", "agent"]),
    (&["node", "promote"], &["manager", "promote"]),
    (&["tls", "init"], &["ca", "init", "--preset", "fleet"]),
    (&["cert", "ca"], &["ca", "init", "--preset", "mesh"]),
    (&["cert", "agent"], &["cert", "issue", "--role", "agent"]),
    (&["ca", "create-intermediate"], &["ca", "add-issuer"]),
    (&["ca", "create-server-cert"], &["cert", "issue", "--role", "server"]),
    (&["ca", "create-client-cert"], &["cert", "issue", "--role", "client"]),
    (&["ca", "sign"], &["cert", "sign"]),
    (&["ca", "revoke"], &["cert", "revoke"]),
    (&["ca", "check-expiry"], &["cert", "check"]),
    (&["cert", "needs-renewal"], &["cert", "check", "--due"]),
    (&["tls", "--help"], &["ca", "init", "--help"]),
    (&["worker", "--help"], &["node", "start", "--help"]),
    (&["agent", "--help"], &["node", "start", "--help"]),
];

/// Options that stand before the command and take a value in the next word.
const WITH_VALUE: [&str; 3] = ["--manager", "--home", "--log"];

/// The command line, with the first words of the command replaced where they are an alias.
pub(super) fn expanded(argv: Vec<OsString>) -> Vec<OsString> {
    let at = command_at(&argv);
    let found = ALIASES.iter().find(|(from, _)| {
        let words = argv.get(at..at + from.len());
        words.is_some_and(|words| words.iter().zip(*from).all(|(word, from)| word == from))
    });
    let Some((from, to)) = found else { return argv };
    let mut words: Vec<OsString> = argv[..at].to_vec();
    words.extend(to.iter().map(OsString::from));
    words.extend_from_slice(&argv[at + from.len()..]);
    words
}

/// Where the first word stands that is neither the program, an option, nor an option's value.
fn command_at(argv: &[OsString]) -> usize {
    let mut at = 1;
    while let Some(word) = argv.get(at).and_then(|word| word.to_str()).filter(|word| word.starts_with('-')) {
        at += if WITH_VALUE.contains(&word) { 2 } else { 1 };
    }
    at.min(argv.len())
}
