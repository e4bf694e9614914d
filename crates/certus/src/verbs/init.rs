//! `certus init`: asks the one question, and writes an agent's configuration or names the command.

mod authority;
mod document;
mod wizard;

use certus_pki::{AltName, Explain, Explanation, NodeId, PrivateKey, UnixTime, code};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Context, offline, show};
use crate::args::Configure;
use crate::home;
use crate::terminal::Exit;
use authority::Pems;
use wizard::Answer;

/// What goes into the configuration.
struct Plan {
    transport: String,
    address: String,
    name: Option<String>,
    pems: Option<Pems>,
}

/// Stable: what was written, and what comes next.
#[derive(Serialize)]
struct Report {
    file: Option<String>,
    certificates: &'static str,
    ca: Option<String>,
    expires_at: Option<String>,
    next: String,
}

pub(super) fn run(context: &Context, options: &Configure) -> Result<Exit, Explanation> {
    let now = show::now();
    let asks = options.wizard || !has_answers(options);
    if asks && !context.terminal.can_ask() {
        let told = Explanation::new(code::USAGE, "there is nobody to ask: this is not a terminal");
        return Err(told.hint(
            "certus init --self-signed; or --ca-pem FILE --cert-pem FILE --key-pem FILE; or --ca-key FILE --cn NAME",
        ));
    }
    if asks
        && !options.wizard
        && let Answer::Command(command, what) = wizard::where_to_begin()?
    {
        let report =
            Report { file: None, certificates: "none", ca: None, expires_at: None, next: command.to_owned() };
        context.terminal.report(&report, || format!("{command}\n    {what}"));
        return Ok(Exit::Done);
    }
    let force = options.force || asks && replaces(options)?;
    let plan = if asks { wizard::ask(context.terminal, options, now)? } else { of_options(options, now)? };
    let text = document::write(&plan, &options.output)?;
    offline::write(context, &options.output, text.as_bytes(), offline::SECRET, force)?;
    if !offline::is_standard(&options.output) {
        let report = report(&plan, options)?;
        context.terminal.report(&report, || words(&report));
    }
    Ok(Exit::Done)
}

/// Whether the options say what the wizard would ask.
fn has_answers(options: &Configure) -> bool {
    options.self_signed || options.ca_pem.is_some() || options.ca_key.is_some()
}

/// Asked first, so that nobody answers everything in vain.
fn replaces(options: &Configure) -> Result<bool, Explanation> {
    if offline::is_standard(&options.output) || !options.output.exists() {
        return Ok(false);
    }
    let file = options.output.display().to_string();
    if wizard::may_replace(&file)? {
        return Ok(true);
    }
    Err(Explanation::new(code::ALREADY_EXISTS, format!("{file} is there already and stays"))
        .hint("--output FILE writes another"))
}

fn of_options(options: &Configure, now: UnixTime) -> Result<Plan, Explanation> {
    if !crate::config::is_address(&options.address) {
        return Err(Explanation::new(code::USAGE, "--address: not an address")
            .halves("HOST:PORT, as 0.0.0.0:4433", &options.address));
    }
    let name = options.cn.clone();
    if let Some(name) = &name {
        name.parse::<NodeId>()
            .map_err(|error| Explanation::new(code::USAGE, format!("--cn: {error}")).fact("came", name))?;
    }
    let pems = match (&options.ca_pem, &options.cert_pem, &options.key_pem, &options.ca_key) {
        (Some(ca), Some(cert), Some(key), _) => {
            let pems = Pems {
                ca: offline::read_text(ca)?,
                cert: offline::read_text(cert)?,
                key: Zeroizing::new(offline::read_text(key)?),
            };
            authority::check(&pems, now)?;
            Some(pems)
        }
        (_, _, _, Some(ca_key)) => {
            let passphrase = options.passphrase_file.as_deref().map(offline::passphrase).transpose()?;
            let text = Zeroizing::new(offline::read_text(ca_key)?);
            let key = PrivateKey::from_pem_with(&text, passphrase.as_ref())
                .map_err(|error| error.explain().fact("file", ca_key.display()))?;
            let lifetime = options.lives.asked().unwrap_or(authority::LEAF_LIFETIME);
            let name = own_name(options);
            Some(wizard::make(&key, &name, names(options, &name)?, lifetime, now)?)
        }
        _ => None,
    };
    Ok(Plan {
        transport: options.transport.as_str().to_owned(),
        address: options.address.clone(),
        name,
        pems,
    })
}

/// The names that were given; where no DNS name was, the agent's own if that can be one.
fn names(options: &Configure, name: &str) -> Result<Vec<AltName>, Explanation> {
    let dns = options.dns.iter().map(|name| AltName::dns(name));
    let ip = options.ip.iter().map(|ip| AltName::ip(ip));
    let own = AltName::dns(name).ok().filter(|_| options.dns.is_empty());
    own.into_iter().map(Ok).chain(dns).chain(ip).collect::<Result<_, _>>().map_err(|error| error.explain())
}

fn own_name(options: &Configure) -> String {
    options.cn.clone().unwrap_or_else(|| home::host_id().to_string())
}

fn report(plan: &Plan, options: &Configure) -> Result<Report, Explanation> {
    let file = options.output.display().to_string();
    let next = format!("certus agent start --config {file}");
    let Some(pems) = &plan.pems else {
        return Ok(Report {
            file: Some(file),
            certificates: "self_signed",
            ca: None,
            expires_at: None,
            next,
        });
    };
    let first = |pem: &str| {
        let read = certus_pki::Certificate::many_from_pem(pem).map_err(|error| error.explain());
        read.map(|mut all| all.swap_remove(0))
    };
    Ok(Report {
        file: Some(file),
        certificates: "inline",
        ca: Some(first(&pems.ca)?.subject),
        expires_at: Some(first(&pems.cert)?.not_after.to_string()),
        next,
    })
}

fn words(report: &Report) -> String {
    let file = report.file.as_deref().unwrap_or_default();
    let what = match (&report.ca, &report.expires_at) {
        (Some(ca), Some(end)) => format!("strict TLS below {ca}; the certificate ends {end}"),
        _ => "certificates made at each start; agents are known by their keys".to_owned(),
    };
    format!("made  {file}  {what}\n\nnext  {}", report.next)
}
