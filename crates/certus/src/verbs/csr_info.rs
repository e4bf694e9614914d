//! `certus csr info`: what a request asks for, and that its maker holds the key.

use certus_pki::Explanation;
use certus_pki::request::Request;
use serde::Serialize;

use super::Context;
use crate::args::CsrInfo;
use crate::terminal::Exit;

/// What a request asks for, as data.
#[derive(Serialize)]
pub(super) struct RequestData {
    subject: String,
    names: Vec<String>,
    other_names: usize,
    wants_to_be_ca: bool,
    key_type: String,
    key_hash: String,
    extensions: Vec<String>,
}

impl RequestData {
    pub(super) fn of(request: &Request) -> RequestData {
        let claims = &request.claims;
        RequestData {
            subject: claims.subject.to_string(),
            names: claims.names.iter().map(ToString::to_string).collect(),
            other_names: claims.other_names,
            wants_to_be_ca: claims.is_ca,
            key_type: request.public_key.key_type().to_string(),
            key_hash: request.public_key.hash().to_string(),
            extensions: claims.extensions.clone(),
        }
    }

    pub(super) fn words(&self) -> String {
        let subject = if self.subject.is_empty() { "no subject" } else { &self.subject };
        let mut lines = vec![format!("request for {subject}")];
        let mut line = |label: &str, value: String| lines.push(format!("  {label:<11}  {value}"));
        if !self.names.is_empty() {
            line("asks for", self.names.join(", "));
        }
        if self.other_names > 0 {
            line("and", format!("{} names of kinds that are not issued", self.other_names));
        }
        if self.wants_to_be_ca {
            line("wants", "to be a CA".to_owned());
        }
        line("key", format!("{}, {}", self.key_type, self.key_hash));
        line("proof", "signed with that key; nothing else in it is proven".to_owned());
        lines.join("\n")
    }
}

pub(super) async fn run(context: &Context, info: CsrInfo) -> Result<Exit, Explanation> {
    let data = RequestData::of(&super::cert_sign::read(&info.file)?);
    context.terminal.report(&data, || data.words());
    Ok(Exit::Done)
}
