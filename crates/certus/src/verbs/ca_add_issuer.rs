//! `certus ca add-issuer`: the next issuer below the root.

use certus_cadir::{Access, CaDir, NewAuthority};
use certus_pki::{Explain, Explanation, NameConstraints, Subject};
use serde::Serialize;

use super::Context;
use super::ca_init::{MadeData, authority_data, made_words};
use super::offline::{self, serials};
use super::show;
use crate::args::AddIssuer;
use crate::terminal::Exit;

#[derive(Serialize)]
struct Report {
    made: Vec<MadeData>,
}

pub(super) async fn run(context: &Context, add: AddIssuer) -> Result<Exit, Explanation> {
    let now = show::now();
    let mut dir = offline::open(&add.signs, None, Access::Change)?;
    let new = plan(&add, &dir)?;
    let made = offline::with_secrets(context, &add.signs, |secrets| {
        dir.add_issuer(&new, secrets, now, &mut serials())
    })?;
    if made.shortened {
        let end = made.certificate.not_after;
        context.terminal.note(&format!("the root ends {end}, and what it signs no later"));
    }
    let named = offline::place(&add.signs, None);
    let report = Report { made: vec![authority_data(&made, &dir, &named)] };
    context.terminal.report(&report, || {
        let root = dir.layout().root();
        let key = named.join(&root.key);
        let keep = if key.exists() {
            format!("\nit signs from now on; {} can be put away until the next one", key.display())
        } else {
            "\nit signs from now on".to_owned()
        };
        format!("{}{keep}", made_words(&report.made))
    });
    Ok(Exit::Done)
}

fn plan(add: &AddIssuer, dir: &CaDir) -> Result<NewAuthority, Explanation> {
    let root = dir.root().map_err(|error| error.explain())?;
    let number = dir.issuers().len() + 1;
    let numbered = if number == 1 { "issuer".to_owned() } else { format!("issuer {number}") };
    let subject = match (&add.subject, &add.cn) {
        (Some(subject), _) => Ok(subject.clone()),
        (None, Some(name)) => Subject::common_name(name),
        (None, None) => Subject::common_name(&format!("{} {numbered}", root.common_name())),
    };
    Ok(NewAuthority {
        subject: subject.map_err(|error| error.explain())?,
        key_type: add.key_type.unwrap_or(root.public_key.key_type()),
        lifetime: add.lives.asked().unwrap_or(dir.layout().issuer_lifetime()),
        path_len: Some(add.path_length),
        constraints: NameConstraints { permitted: add.permit.clone(), excluded: add.exclude.clone() },
    })
}
