//! Key, chain and roots as PEM texts in environment variables: the one place that reads the environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use certus_pki::UnixTime;
use zeroize::Zeroizing;

use super::error::SourceError;
use super::material::{Material, MaterialError, Needs};
use super::snapshot::FILE_BYTES_MAX;
use super::text::{Texts, read_texts};
use super::watch::{Habits, Origin, TICK};

/// The chain, unless another name is set.
pub const DEFAULT_CERT: &str = "CERTUS_TLS_CERT";
/// The key, unless another name is set.
pub const DEFAULT_KEY: &str = "CERTUS_TLS_KEY";
/// The roots, unless another name is set.
pub const DEFAULT_CA: &str = "CERTUS_TLS_CA";

/// Which variables hold what. A process cannot be given new ones: what they hold cannot rotate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvSource {
    cert: String,
    key: String,
    ca: String,
    needs: Needs,
}

impl EnvSource {
    /// The default names.
    pub fn new(needs: Needs) -> EnvSource {
        EnvSource::named(DEFAULT_CERT, DEFAULT_KEY, DEFAULT_CA, needs)
    }

    /// Other names.
    pub fn named(
        cert: impl Into<String>,
        key: impl Into<String>,
        ca: impl Into<String>,
        needs: Needs,
    ) -> EnvSource {
        EnvSource { cert: cert.into(), key: key.into(), ca: ca.into(), needs }
    }

    /// Reads and checks what the environment holds. What is not needed may be unset, but not half of a pair.
    ///
    /// # Errors
    /// [`SourceError::Unset`] names the variable that is missing.
    pub fn read(&self, now: UnixTime) -> Result<Material, SourceError> {
        self.read_from(|name| std::env::var_os(name), now)
    }

    fn read_from(
        &self,
        lookup: impl Fn(&str) -> Option<OsString>,
        now: UnixTime,
    ) -> Result<Material, SourceError> {
        let text = |name: &str| text_of(name, lookup(name));
        let is_set = |name: &str| lookup(name).is_some_and(|value| !value.is_empty());
        let has_pair = self.needs.identity || is_set(&self.cert) || is_set(&self.key);
        let cert = has_pair.then(|| text(&self.cert)).transpose()?;
        let key = has_pair.then(|| text(&self.key)).transpose()?;
        let ca = (self.needs.roots || is_set(&self.ca)).then(|| text(&self.ca)).transpose()?;
        let texts = Texts {
            bundle: None,
            chain: cert.as_ref().map(|text| text.as_str()),
            key: key.as_ref().map(|text| text.as_str()),
            roots: ca.as_ref().map(|text| text.as_str()),
        };
        let wrong = |error: MaterialError| {
            let all = [(&self.cert, &cert), (&self.key, &key), (&self.ca, &ca)];
            let named = all.into_iter().filter(|(_, text)| text.is_some()).map(|(name, _)| name.as_str());
            SourceError::Material { place: named.collect::<Vec<_>>().join(", "), error }
        };
        let material = read_texts(texts).map_err(wrong)?;
        material.check(now, self.needs).map_err(wrong)?;
        Ok(material)
    }
}

impl Origin for EnvSource {
    fn read(&self, current: Option<&Material>, now: UnixTime) -> Result<Option<Material>, SourceError> {
        if current.is_some() { Ok(None) } else { EnvSource::read(self, now).map(Some) }
    }

    fn habits(&self) -> Habits {
        Habits { is_static: true, rotates: false, poll: TICK, settle: Duration::ZERO, files: Vec::new() }
    }
}

fn text_of(name: &str, value: Option<OsString>) -> Result<Zeroizing<String>, SourceError> {
    let unset = |empty| SourceError::Unset { variable: name.to_owned(), empty };
    let value = value.ok_or_else(|| unset(false))?;
    let place = || PathBuf::from(format!("${name}"));
    if value.len() as u64 > FILE_BYTES_MAX {
        return Err(SourceError::TooLarge { path: place(), bytes: value.len() as u64 });
    }
    let text = value.into_string().map(Zeroizing::new);
    let text = text.map_err(|value| {
        let at = value.to_string_lossy().find(char::REPLACEMENT_CHARACTER).unwrap_or(0);
        SourceError::NotText { path: place(), at }
    })?;
    if text.trim().is_empty() { Err(unset(true)) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
