//! The questions of `certus init`, asked on the terminal.

use std::io::{BufRead, Write};

use certus_pki::key::Passphrase;
use certus_pki::{AltName, Explain, Explanation, Lifetime, PrivateKey, UnixTime, code};
use inquire::{Confirm, InquireError, Password, Select, Text};
use zeroize::Zeroizing;

use super::authority::{self, Asked, Pems};
use super::{Plan, own_name};
use crate::args::Configure;
use crate::terminal::Terminal;
use crate::verbs::offline;

/// A pasted text is a few certificates; what is longer is something else.
const PASTE_BYTES_MAX: usize = 256 * 1024;

/// What the one question led to.
pub(super) enum Answer {
    /// Another command does it.
    Command(&'static str, &'static str),
    /// A configuration.
    Agent,
}

/// The one question.
pub(super) fn where_to_begin() -> Result<Answer, Explanation> {
    const AGENT: &str = "No, and no CA is needed: agents that know each other by their keys";
    const FILES: &str = "No: certificates as files";
    const CLUSTER: &str = "Yes: a cluster that is its own CA";
    const TRY: &str = "I am only trying";
    let choices = vec![CLUSTER, FILES, AGENT, TRY];
    Ok(match Select::new("Does something keep running that signs?", choices).prompt().map_err(left)? {
        CLUSTER => {
            Answer::Command("certus cluster init --name prod", "founds a cluster and runs its first manager")
        }
        FILES => {
            Answer::Command("certus tls init --hosts host-a,host-b", "makes a CA and certificates for hosts")
        }
        TRY => Answer::Command("certus dev", "runs a live cluster on this machine, and keeps nothing"),
        _ => Answer::Agent,
    })
}

/// The wizard: what the agent listens on, and how it is known.
pub(super) fn ask(terminal: Terminal, options: &Configure, now: UnixTime) -> Result<Plan, Explanation> {
    const SELF_SIGNED: &str = "Self-signed: made at each start, nobody's is verified (recommended)";
    const STRICT: &str = "Strict TLS: verified against a CA";
    const PASTE: &str = "Paste CA certificate, agent certificate and key";
    const DERIVE: &str = "Make them from the CA's key";
    let transports = vec!["quic", "h2", "ws", "tcp"];
    let usual = transports.iter().position(|word| *word == options.transport.as_str()).unwrap_or(0);
    let transport = Select::new("How do connections travel?", transports)
        .with_starting_cursor(usual)
        .prompt()
        .map_err(left)?;
    let address = loop {
        let address =
            Text::new("Where does it listen?").with_default(&options.address).prompt().map_err(left)?;
        if crate::config::is_address(&address) {
            break address;
        }
        terminal.say("expected HOST:PORT, as 0.0.0.0:4433");
    };
    let name = options.cn.clone();
    let mut plan = Plan { transport: transport.to_owned(), address, name, pems: None };
    if Select::new("Which certificates?", vec![SELF_SIGNED, STRICT]).prompt().map_err(left)? == SELF_SIGNED {
        return Ok(plan);
    }
    let pems = if Select::new("Where from?", vec![PASTE, DERIVE]).prompt().map_err(left)? == PASTE {
        let pems = Pems {
            ca: paste(terminal, "the CA's certificate", "CERTIFICATE")?.to_string(),
            cert: paste(terminal, "the agent's certificate", "CERTIFICATE")?.to_string(),
            key: paste(terminal, "the agent's private key", "PRIVATE KEY")?,
        };
        authority::check(&pems, now)?;
        pems
    } else {
        let name =
            Text::new("What is the agent called?").with_default(&own_name(options)).prompt().map_err(left)?;
        let ca_key = ca_key(&paste(terminal, "the CA's private key", "PRIVATE KEY")?)?;
        let names = names(terminal, &name)?;
        plan.name = Some(name.clone());
        let lifetime = options.lives.asked().unwrap_or(authority::LEAF_LIFETIME);
        make(&ca_key, &name, names, lifetime, now)?
    };
    plan.pems = Some(pems);
    Ok(plan)
}

/// Whether an existing file may be replaced.
pub(super) fn may_replace(file: &str) -> Result<bool, Explanation> {
    Confirm::new(&format!("{file} is there already. Replace it?")).with_default(false).prompt().map_err(left)
}

/// A certificate by that key.
pub(super) fn make(
    ca_key: &PrivateKey,
    name: &str,
    names: Vec<AltName>,
    lifetime: Lifetime,
    now: UnixTime,
) -> Result<Pems, Explanation> {
    authority::agent(ca_key, &Asked { name, names, lifetime }, now, offline::serials()())
}

fn ca_key(text: &str) -> Result<PrivateKey, Explanation> {
    match PrivateKey::from_pem(text).map_err(|error| error.explain()) {
        Err(told) if told.code == code::PASSPHRASE_NEEDED => {
            let answer = Password::new("passphrase of the CA's key").without_confirmation().prompt();
            let passphrase = Passphrase::new(answer.map_err(left)?);
            PrivateKey::from_pem_with(text, Some(&passphrase)).map_err(|error| error.explain())
        }
        read => read,
    }
}

fn names(terminal: Terminal, name: &str) -> Result<Vec<AltName>, Explanation> {
    let own = AltName::dns(name).map_or_else(|_| String::new(), |_| name.to_owned());
    loop {
        let asked = Text::new("Its DNS names and addresses, with commas:").with_default(&own);
        let answer = asked.prompt().map_err(left)?;
        let words = answer.split(',').map(str::trim).filter(|word| !word.is_empty());
        match words.map(str::parse).collect::<Result<Vec<AltName>, _>>() {
            Ok(names) => return Ok(names),
            Err(error) => terminal.say(&error.to_string()),
        }
    }
}

/// Lines up to the one that ends a block of that kind. Nothing of it is shown while it is pasted.
fn paste(terminal: Terminal, what: &str, label: &str) -> Result<Zeroizing<String>, Explanation> {
    let _quiet = Quiet::begin();
    terminal.say(&format!("Paste {what}, from -----BEGIN to -----END, then return:"));
    let mut text = Zeroizing::new(String::with_capacity(PASTE_BYTES_MAX));
    let mut stdin = std::io::stdin().lock();
    loop {
        let line = line(&mut stdin)?;
        let line = std::str::from_utf8(&line).unwrap_or_default();
        if line.is_empty() || line.contains(INTERRUPT) {
            return Err(Explanation::new(code::USAGE, format!("nothing was written: {what} was not pasted"))
                .halves(format!("lines up to -----END {label}-----"), "an end before it"));
        }
        if text.len() + line.len() > PASTE_BYTES_MAX {
            return Err(Explanation::new(code::OUT_OF_BOUNDS, format!("{what} is too long"))
                .halves(format!("at most {PASTE_BYTES_MAX} bytes"), "more"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        let line = line.trim();
        if line.starts_with("-----END ") && line.trim_end_matches('-').ends_with(label) {
            terminal.say("  taken");
            return Ok(text);
        }
    }
}

/// What the terminal gives up to a line's end or ctrl-c; nothing at its own end.
fn line(stdin: &mut impl BufRead) -> Result<Zeroizing<Vec<u8>>, Explanation> {
    let mut line = Zeroizing::new(Vec::with_capacity(PASTE_BYTES_MAX));
    loop {
        let part = stdin.fill_buf().map_err(|error| {
            Explanation::new(code::FILE, "cannot read the terminal").fact("the system says", error)
        })?;
        let is_end = |byte: &u8| matches!(*byte, b'\n' | INTERRUPT_BYTE);
        let taken = part.iter().position(is_end).map_or(part.len(), |at| at + 1);
        line.extend_from_slice(&part[..taken]);
        stdin.consume(taken);
        if taken == 0 || line.last().is_some_and(is_end) || line.len() > PASTE_BYTES_MAX {
            return Ok(line);
        }
    }
}

/// Ctrl-c, as a character.
const INTERRUPT: char = '\u{3}';
const INTERRUPT_BYTE: u8 = 3;

/// The terminal without echo, until it is dropped. Ctrl-c is a character meanwhile: a process that it
/// ended would leave the terminal as it is now.
struct Quiet(Option<rustix::termios::Termios>);

impl Quiet {
    fn begin() -> Quiet {
        use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Quiet(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT_BYTE;
        // What was typed ahead stays: a paste may have begun.
        let _ = tcsetattr(&stdin, OptionalActions::Now, &quiet);
        Quiet(Some(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
        let _ = std::io::stderr().flush();
    }
}

fn left(error: InquireError) -> Explanation {
    Explanation::new(code::USAGE, format!("nothing was written: {}", words(&error)))
        .hint("certus init --help names the options that answer the questions")
}

fn words(error: &InquireError) -> String {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => {
            "the questions were left".to_owned()
        }
        other => other.to_string().to_lowercase(),
    }
}
