//! `certus cert info` on files and servers: certificates, requests, revocation lists, keys, PKCS#12.

use std::path::Path;

use certus_pki::crl::Crl;
use certus_pki::key::{KeyFacts, Passphrase};
use certus_pki::request::Request;
use certus_pki::{Certificate, Explain, Explanation, PrivateKey, Signer, UnixTime, code, pem, pkcs12};
use serde::Serialize;
use zeroize::Zeroizing;

use super::Context;
use super::csr_info::RequestData;
use super::key_inspect::KeyData;
use super::offline;
use super::show::{self, CertificateData};
use crate::args::Info;
use crate::probe;
use crate::terminal::{Exit, count};

/// Of a long list the first entries are enough to see; `--json` has all.
const ENTRIES_SHOWN_MAX: usize = 20;

#[derive(Default, Serialize)]
struct Report {
    certificates: Vec<CertificateData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<RequestData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revocation_lists: Vec<ListData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeyData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerData>,
    #[serde(skip)]
    words: Vec<String>,
}

#[derive(Serialize)]
struct ServerData {
    address: String,
    version: String,
    suite: String,
    asks_for_client_certificate: bool,
    client_authorities: Vec<String>,
    chain_expires_at: Option<String>,
}

#[derive(Serialize)]
struct ListData {
    issuer: String,
    number: Option<String>,
    this_update: String,
    next_update: Option<String>,
    revoked: Vec<RevokedData>,
}

#[derive(Serialize)]
struct RevokedData {
    serial: String,
    revoked_at: String,
    reason: &'static str,
}

/// What a file holds.
pub(super) fn file(context: &Context, path: &Path, info: &Info) -> Result<Exit, Explanation> {
    let passphrase = info.signs.passphrase_file.as_deref().map(offline::passphrase).transpose()?;
    let bytes = Zeroizing::new(offline::read(path)?);
    let mut report = Report::default();
    let read = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => report.pem(text, passphrase.as_ref(), path),
        _ => report.der(&bytes, passphrase.as_ref(), path),
    };
    read.map_err(|told| told.fact("file", offline::shown(path)))?;
    context.terminal.report(&report, || report.words.join("\n\n"));
    Ok(Exit::Done)
}

/// What a server serves, and what it asks of clients.
pub(super) async fn server(context: &Context, address: &str) -> Result<Exit, Explanation> {
    let served = probe::served(address).await?;
    let now = show::now();
    let mut report = Report::default();
    let asks = match &served.asks {
        None => "no certificate".to_owned(),
        Some(names) if names.is_empty() => "a certificate, of any authority".to_owned(),
        Some(names) => format!("a certificate of {}", names.join(", or of ")),
    };
    report.words.push(format!(
        "{address}   {}, {}\n  {:<11}  {asks}\n  {:<11}  {}; nothing here says that it is to be trusted",
        served.version,
        served.suite,
        "asks for",
        "serves",
        count(served.chain.len() as u64, "certificate"),
    ));
    report.server = Some(ServerData {
        address: address.to_owned(),
        version: served.version,
        suite: served.suite,
        asks_for_client_certificate: served.asks.is_some(),
        client_authorities: served.asks.unwrap_or_default(),
        chain_expires_at: probe::first_end(&served.chain).map(|end| end.to_string()),
    });
    for certificate in &served.chain {
        report.certificate(certificate, now);
    }
    context.terminal.report(&report, || report.words.join("\n\n"));
    Ok(Exit::Done)
}

impl Report {
    fn pem(&mut self, text: &str, passphrase: Option<&Passphrase>, path: &Path) -> Result<(), Explanation> {
        let now = show::now();
        let blocks = pem::decode(text).map_err(|error| error.explain())?;
        for block in &blocks {
            let line = |told: Explanation| told.fact("line", block.line);
            match block.label.as_str() {
                "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                    let certificate = Certificate::from_der(&block.der).map_err(|e| line(e.explain()))?;
                    self.certificate(&certificate, now);
                }
                "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
                    self.request(&Request::read(&block.der).map_err(|e| line(e.explain()))?);
                }
                "X509 CRL" => self.list(&Crl::from_der(&block.der).map_err(|e| line(e.explain()))?, now),
                label if label.ends_with("PRIVATE KEY") => {
                    let one = Zeroizing::new(pem::encode(label, &block.der));
                    let facts = KeyFacts::of_pem(&one, passphrase).map_err(|e| line(e.explain()))?;
                    self.key(&facts, path);
                }
                // What openssl puts before an elliptic-curve key.
                "EC PARAMETERS" => {}
                label => self.words.push(format!("{label}, which is not looked into")),
            }
        }
        if self.words.is_empty() { Err(nothing_known()) } else { Ok(()) }
    }

    fn der(&mut self, bytes: &[u8], passphrase: Option<&Passphrase>, path: &Path) -> Result<(), Explanation> {
        let now = show::now();
        let certificate = Certificate::from_der(bytes);
        if let Ok(certificate) = &certificate {
            self.certificate(certificate, now);
        } else if let Ok(request) = Request::read(bytes) {
            self.request(&request);
        } else if let Ok(list) = Crl::from_der(bytes) {
            self.list(&list, now);
        } else if let Ok(key) = PrivateKey::from_der(bytes, passphrase) {
            self.private(&key, path);
        } else if let Some(passphrase) = passphrase {
            let contents = pkcs12::read(bytes, passphrase).map_err(|error| error.explain())?;
            for (_, key) in &contents.keys {
                self.private(key, path);
            }
            for certificate in &contents.certificates {
                self.certificate(certificate, now);
            }
        } else if bytes.first() == Some(&0x30)
            && path.extension().is_some_and(|end| end == "p12" || end == "pfx")
        {
            return Err(Explanation::new(code::PASSPHRASE_NEEDED, "the container needs a passphrase")
                .hint("--passphrase-file FILE"));
        } else {
            // A certificate is what is meant most often; its reader says what is wrong.
            return Err(certificate.err().map_or_else(nothing_known, |error| error.explain()));
        }
        Ok(())
    }

    fn certificate(&mut self, certificate: &Certificate, now: UnixTime) {
        self.words.push(show::certificate(certificate, now));
        self.certificates.push(CertificateData::of(certificate));
    }

    fn request(&mut self, request: &Request) {
        let data = RequestData::of(request);
        self.words.push(data.words());
        self.requests.push(data);
    }

    fn key(&mut self, facts: &KeyFacts, path: &Path) {
        let data = KeyData::of(facts, offline::shown(path));
        self.words.push(data.words());
        self.keys.push(data);
    }

    fn private(&mut self, key: &PrivateKey, path: &Path) {
        let public = key.public_key();
        let form = certus_pki::key::KeyForm::Pkcs8;
        let facts = KeyFacts { form, key_type: Some(public.key_type()), key_hash: Some(public.hash()) };
        self.key(&facts, path);
    }

    fn list(&mut self, list: &Crl, now: UnixTime) {
        let mut lines = vec![format!("revocation list of {}", list.issuer)];
        let mut line = |label: &str, value: String| lines.push(format!("  {label:<11}  {value}"));
        line("number", list.number.clone().unwrap_or_else(|| "none".to_owned()));
        line("made", format!("{}, {}", list.this_update, list.this_update.relative_to(now)));
        match list.next_update {
            Some(next) => line("next due", format!("{next}, {}", next.relative_to(now))),
            None => line("next due", "not stated".to_owned()),
        }
        line("revoked", count(list.entries().len() as u64, "certificate"));
        for entry in list.entries().take(ENTRIES_SHOWN_MAX) {
            line("", format!("{}  {}  {}", entry.serial, entry.at, entry.reason));
        }
        self.words.push(lines.join("\n"));
        self.revocation_lists.push(ListData {
            issuer: list.issuer.to_string(),
            number: list.number.clone(),
            this_update: list.this_update.to_string(),
            next_update: list.next_update.map(|next| next.to_string()),
            revoked: list
                .entries()
                .map(|entry| RevokedData {
                    serial: entry.serial.to_string(),
                    revoked_at: entry.at.to_string(),
                    reason: entry.reason.as_str(),
                })
                .collect(),
        });
    }
}

fn nothing_known() -> Explanation {
    Explanation::new(code::BAD_ENCODING, "the file holds nothing that is known here")
        .halves("a certificate, request, revocation list, key or PKCS#12 container", "something else")
}
