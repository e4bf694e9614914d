//! `certus csr new`: a certificate request for a key.

use certus_pki::{Csr, Explain, Explanation, Names, PrivateKey, Subject, pem};
use zeroize::Zeroizing;

use super::Context;
use super::offline::{self, PUBLIC};
use crate::args::CsrNew;
use crate::terminal::Exit;

pub(super) async fn run(context: &Context, new: CsrNew) -> Result<Exit, Explanation> {
    let passphrase = new.passphrase_file.as_deref().map(offline::passphrase).transpose()?;
    let text = Zeroizing::new(offline::read_text(&new.key)?);
    let key = PrivateKey::from_pem_with(&text, passphrase.as_ref())
        .map_err(|error| error.explain().fact("file", offline::shown(&new.key)))?;
    let subject = match &new.subject {
        Some(subject) => subject.clone(),
        None => Subject::common_name(new.cn.as_deref().unwrap_or_default()).map_err(|e| e.explain())?,
    };
    let names =
        Names::new(new.names.all().map_err(|error| error.explain())?).map_err(|error| error.explain())?;
    let der = Csr::make_for(&key, &subject, &names).map_err(|error| error.explain())?;
    let text = pem::encode(pem::CERTIFICATE_REQUEST, &der);
    offline::write(context, &new.out, text.as_bytes(), PUBLIC, new.force)?;
    Ok(Exit::Done)
}
