//! Certificates and keys of a `tls:` section: paths, or PEM in the document, which is looked at here.

use certus_node::{MaterialSpec, Pem};
use certus_pki::{Certificate, Explain, Explanation, PrivateKey, PublicKey, Signer};
use zeroize::Zeroizing;

use super::raw::{Hidden, RawTls, Text};
use super::reader::Reader;

impl Reader<'_> {
    /// What the section names. Inline text wins over a path; certificate and key go together.
    pub(super) fn material(&self, raw: &RawTls) -> Result<MaterialSpec, Explanation> {
        let ca =
            self.pem("ca_pem", raw.ca_pem.as_ref(), raw.ca.as_ref(), &|text| certificates(text).map(drop))?;
        let mut certified: Option<PublicKey> = None;
        let cert = self.pem("cert_pem", raw.cert_pem.as_ref(), raw.cert.as_ref(), &|text| {
            certificates(text).map(drop)
        })?;
        if let Some(Pem::Text(text)) = &cert {
            certified =
                certificates(text).ok().and_then(|all| all.into_iter().next()).map(|leaf| leaf.public_key);
        }
        let key = self.pem("key_pem", raw.key_pem.as_ref(), raw.key.as_ref(), &|text| {
            let key = PrivateKey::from_pem(text).map_err(|error| error.explain())?;
            match &certified {
                Some(leaf) if leaf != key.public_key() => {
                    Err(Explanation::new(certus_pki::code::CONFIGURATION, "the key is not the certificate's")
                        .halves(format!("a key with SHA-256 {}", leaf.hash()), key.public_key().hash()))
                }
                _ => Ok(()),
            }
        })?;
        match (&cert, &key) {
            (Some(_), None) => {
                let place = raw.cert_pem.as_ref().map(|raw| self.wrong(raw, WITHOUT_KEY));
                Err(place
                    .or(raw.cert.as_ref().map(|raw| self.wrong(raw, WITHOUT_KEY)))
                    .unwrap_or_else(no_place))
            }
            (None, Some(_)) => {
                let place = raw.key_pem.as_ref().map(|raw| self.wrong(raw, WITHOUT_CERT));
                Err(place
                    .or(raw.key.as_ref().map(|raw| self.wrong(raw, WITHOUT_CERT)))
                    .unwrap_or_else(no_place))
            }
            _ => Ok(MaterialSpec { cert, key, ca }),
        }
    }

    /// One text: inline and looked at, or a path.
    fn pem(
        &self,
        name: &str,
        inline: Option<&Hidden>,
        path: Option<&Text>,
        look: &dyn Fn(&str) -> Result<(), Explanation>,
    ) -> Result<Option<Pem>, Explanation> {
        let Some(inline) = inline else {
            return path.map(|path| self.path_of(path).map(Pem::File)).transpose();
        };
        let text = Zeroizing::new(self.secret(inline)?.text);
        look(&text).map_err(|why| {
            let mut told = self.wrong(inline, &format!("{name}: {}", why.message));
            told.facts.extend(why.facts);
            told
        })?;
        Ok(Some(Pem::Text(text)))
    }
}

const WITHOUT_KEY: &str = "a certificate without its key: they are replaced together";
const WITHOUT_CERT: &str = "a key without its certificate: they are replaced together";

fn no_place() -> Explanation {
    Explanation::new(certus_pki::code::CONFIGURATION, WITHOUT_KEY)
}

fn certificates(text: &str) -> Result<Vec<Certificate>, Explanation> {
    Certificate::many_from_pem(text).map_err(|error| error.explain())
}
