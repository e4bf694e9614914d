//! `certus cert sign`: somebody else's request, with the names that a flag allows.

use certus_cadir::{Existing, LeafKey, NewLeaf, Place, Role};
use certus_pki::request::{Request, TakeNames};
use certus_pki::{Explain, Explanation, Names, Subject};
use serde::Serialize;

use super::Context;
use super::ca_init::{MadeData, leaf_data, made_words, note_shortened};
use super::offline::{self, serials};
use super::show;
use crate::args::{For, Sign};
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    made: Vec<MadeData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
}

pub(super) async fn run(context: &Context, sign: Sign) -> Result<Exit, Explanation> {
    let now = show::now();
    let request = read(&sign.csr)?;
    let subject = match (&sign.subject, &sign.cn) {
        (Some(subject), _) => subject.clone(),
        (None, Some(name)) => Subject::common_name(name).map_err(|error| error.explain())?,
        (None, None) => request.claims.subject.clone(),
    };
    let names = take(&sign)?.names(&request.claims).map_err(|error| error.explain())?;
    let left_out =
        request.claims.names.iter().filter(|asked| !names.iter().any(|name| name == *asked)).count();
    if left_out > 0 {
        context.terminal.note(&format!(
            "{left_out} of the names the request asks for are left out; --allow-name says which may be taken"
        ));
    }
    let (mut dir, signing) = offline::open_to_sign(context, &sign.signs, None, now)?;
    let to_stdout = offline::is_standard(&sign.out);
    let leaf = NewLeaf {
        role: match sign.role {
            For::Server => Role::Server,
            For::Client => Role::Client,
            For::Agent => Role::Agent,
        },
        subject,
        names,
        lifetime: sign.lives.asked().unwrap_or(dir.layout().leaf_lifetime()),
        key: LeafKey::Theirs(request.public_key),
        place: if to_stdout { Place::Nowhere } else { Place::File(sign.out.clone()) },
        crl_urls: sign.crl_url.clone(),
    };
    let existing = if sign.force { Existing::Replace } else { Existing::Refuse };
    let made =
        dir.issue(&signing, vec![leaf], existing, now, &mut serials()).map_err(|error| error.explain())?;
    note_shortened(context, &made);
    let pem = to_stdout.then(|| made.iter().map(|leaf| leaf.chain.as_str()).collect::<String>());
    let named = offline::named_dir(&sign.signs);
    let report = Report { made: made.iter().map(|leaf| leaf_data(leaf, &dir, &named)).collect(), pem };
    context.terminal.report(&report, || match &report.pem {
        Some(pem) => pem.trim_end().to_owned(),
        None => made_words(&report.made),
    });
    Ok(Exit::Done)
}

fn take(sign: &Sign) -> Result<TakeNames, Explanation> {
    if !sign.allow_name.is_empty() {
        return Ok(TakeNames::FromRequest { allow: sign.allow_name.clone() });
    }
    if sign.names.is_empty() {
        return Ok(TakeNames::None);
    }
    let names = sign.names.all().map_err(|error| error.explain())?;
    Names::new(names).map(TakeNames::Listed).map_err(|error| error.explain())
}

/// A request, PEM or DER.
pub(super) fn read(path: &std::path::Path) -> Result<Request, Explanation> {
    let bytes = offline::read(path)?;
    let request = match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => Request::from_pem(text),
        _ => Request::read(&bytes),
    };
    request.map_err(|error| error.explain().fact("file", offline::shown(path)))
}
