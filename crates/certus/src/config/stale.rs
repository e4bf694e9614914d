//! When revocations are stale, and what follows: `revocation_stale_after` and `on_revocation_stale`.

use certus_node::{OnStale, Staleness};
use certus_pki::{Explanation, Lifetime, code, defaults};

use super::raw::{RawConfig, Text};
use super::reader::Reader;

/// What the document says of it; flags may say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StalenessOf(pub(crate) Staleness);

impl StalenessOf {
    /// With `--revocation-stale-after` and `--on-revocation-stale` in the place of the document's.
    pub(crate) fn told(self, (after, then): (Option<&str>, Option<&str>)) -> Result<Staleness, Explanation> {
        let mut told = self.0;
        if let Some(text) = after {
            let wrong =
                |what: String| Explanation::new(code::USAGE, format!("--revocation-stale-after: {what}"));
            told.after = text
                .parse()
                .map_err(|error: <Lifetime as std::str::FromStr>::Err| wrong(error.to_string()))?;
            long_enough(told.after).map_err(|least| {
                wrong("a living manager would seem gone".to_owned()).halves(least, told.after)
            })?;
        }
        if let Some(text) = then {
            let found = WORDS.iter().find(|(word, _)| *word == text).map(|(_, then)| *then);
            told.then = found.ok_or_else(|| {
                Explanation::new(code::USAGE, "--on-revocation-stale: not one of its words")
                    .halves("open or closed", text)
            })?;
        }
        Ok(told)
    }
}

impl Reader<'_> {
    pub(super) fn staleness(&self, raw: &RawConfig) -> Result<StalenessOf, Explanation> {
        let mut told = Staleness::default();
        if let Some(text) = &raw.revocation_stale_after {
            told.after = self.after(text)?;
        }
        if let Some(text) = &raw.on_revocation_stale {
            told.then = self.one_of("on_revocation_stale", text, &WORDS)?;
        }
        Ok(StalenessOf(told))
    }

    fn after(&self, text: &Text) -> Result<Lifetime, Explanation> {
        let after: Lifetime = self.parsed("revocation_stale_after", text)?;
        let short = "revocation_stale_after: a living manager would seem gone";
        long_enough(after).map_err(|least| self.wrong(text, short).halves(least, after))?;
        Ok(after)
    }
}

/// The word of the policy.
pub(super) fn word(then: OnStale) -> &'static str {
    WORDS.iter().find(|(_, known)| *known == then).map_or("open", |(word, _)| word)
}

fn long_enough(after: Lifetime) -> Result<(), String> {
    let least = defaults::REVOCATION_STALE_AFTER_MIN;
    if after < least { Err(format!("at least {least}")) } else { Ok(()) }
}

const WORDS: [(&str, OnStale); 2] = [("open", OnStale::Open), ("closed", OnStale::Closed)];
