//! Path validation for chains of any make (RFC 5280 6): from a certificate to a trusted root.
//!
//! Peers of a cluster are judged by [`crate::verify`]; this is for files. Two validators must agree:
//! ours, which can say what is wrong and knows the profile, and webpki. Where webpki says of itself that it
//! does not implement a rule (see [`webpki_knows`]), ours alone decides.

use rustls_pki_types::CertificateDer;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use crate::alt::AltName;
use crate::cert::Certificate;
use crate::crl::Crl;
use crate::key::Signer;
use crate::time::UnixTime;
use crate::verify::Purpose;

mod names;
mod path;
mod profile;
mod rejection;
mod view;

pub use rejection::{BrokenRule, ChainRejection};

use path::Search;
use view::View;

/// A chain is rarely longer than three; webpki's bound.
pub const INTERMEDIATES_PER_PATH_MAX: usize = 6;
/// As many certificates as are looked at beside the leaf; a bundle of public roots has 150.
pub const CERTIFICATES_MAX: usize = 2000;
/// As many names as are looked for at once.
pub const NAMES_MAX: usize = 100;

/// What a chain is held against.
///
/// ```
/// # use certus_pki::*;
/// use certus_pki::chain::{ChainQuery, verify_chain};
/// # let now = UnixTime::from_secs(1_800_000_000);
/// # let key = PrivateKey::generate(KeyType::P256)?;
/// # let year = Validity::starting(now, Lifetime::from_days(365));
/// # let root = Issuer::found(&AuthorityPlan::new("CN=root".parse()?, None, year), Serial::from_random([7; 16]), &key)?;
/// # let names = Names::new(["web.example.com".parse()?])?;
/// # let plan = CertPlan::new("CN=web".parse()?, names, Usage::SERVER, year);
/// # let leaf = root.sign_cert(&plan, key.public_key(), Serial::from_random([9; 16]), &key)?;
/// let roots = [root.certificate().der.as_slice()];
/// let mut query = ChainQuery::at(now, &roots);
/// query.purpose = Some(Purpose::Server);
/// let name = ["dns:web.example.com".parse()?];
/// query.names = &name;
/// let verified = verify_chain(&leaf, &query)?;
/// assert_eq!(verified.path.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ChainQuery<'a> {
    /// The trusted roots, DER.
    pub roots: &'a [&'a [u8]],
    /// Certificates that may stand between, DER, in any order.
    pub intermediates: &'a [&'a [u8]],
    /// Revocation lists. With any, there must be one that covers the leaf.
    pub crls: &'a [Crl],
    /// Which side of a connection the holder is on; any where nothing is stated.
    pub purpose: Option<Purpose>,
    /// Names, each of which the certificate must carry.
    pub names: &'a [AltName],
    /// The time asked about.
    pub at: UnixTime,
    /// How many CA certificates may stand between leaf and root; self-issued ones do not count.
    pub max_depth: Option<u8>,
}

impl<'a> ChainQuery<'a> {
    /// Whether a certificate leads to one of `roots` at a time, whatever it is for.
    pub const fn at(at: UnixTime, roots: &'a [&'a [u8]]) -> ChainQuery<'a> {
        ChainQuery { roots, intermediates: &[], crls: &[], purpose: None, names: &[], at, max_depth: None }
    }
}

/// A chain that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// The certificates, leaf first, root last.
    pub path: Vec<Certificate>,
    /// The last moment at which all of them are valid.
    pub not_after: UnixTime,
}

/// Validates `leaf` (RFC 5280 6.1), by all of what `query` asks.
///
/// # Errors
/// The first rule that is broken on the path that led furthest, with both halves.
pub fn verify_chain(leaf: &[u8], query: &ChainQuery<'_>) -> Result<VerifiedChain, ChainRejection> {
    let came = query.roots.len() + query.intermediates.len();
    if came > CERTIFICATES_MAX {
        return Err(ChainRejection::TooMany { came, max: CERTIFICATES_MAX });
    }
    if query.names.len() > NAMES_MAX {
        return Err(ChainRejection::TooMany { came: query.names.len(), max: NAMES_MAX });
    }
    let leaf = View::read(leaf).map_err(|error| error.of("the certificate".to_owned()))?;
    profile::leaf(&leaf, query)?;
    let search = Search::new(query);
    let path = search.find(&leaf)?;
    names::carries(&leaf, query.names)?;
    if webpki_knows(&path) {
        ask_webpki(&path, query.at)?;
    }
    let path: Vec<Certificate> = path.iter().map(|view| view.cert.clone()).collect();
    let not_after = path.iter().map(|certificate| certificate.not_after).min().unwrap_or(leaf.cert.not_after);
    Ok(VerifiedChain { path, not_after })
}

/// Whether a key and the chain that goes with it can be used at `now`: the key is the first certificate's,
/// and the rest leads to one of `roots`. What a server or client checks before it loads them.
///
/// # Errors
/// [`ChainRejection::WrongKey`], and those of [`verify_chain`].
pub fn validate(
    chain: &[Certificate],
    key: &dyn Signer,
    roots: &[Certificate],
    now: UnixTime,
) -> Result<VerifiedChain, ChainRejection> {
    let (leaf, between) = chain.split_first().ok_or(ChainRejection::Empty)?;
    if leaf.public_key != *key.public_key() {
        let (expected, came) = (leaf.key_hash(), key.public_key().hash());
        return Err(ChainRejection::WrongKey { expected, came });
    }
    let roots: Vec<&[u8]> = roots.iter().map(|root| root.der.as_slice()).collect();
    let between: Vec<&[u8]> = between.iter().map(|above| above.der.as_slice()).collect();
    let query = ChainQuery { intermediates: &between, ..ChainQuery::at(now, &roots) };
    verify_chain(&leaf.der, &query)
}

/// Whether webpki implements all that decides over this path. It does not know CAs in the place of a
/// leaf, self-issued certificates as RFC 5280 counts them, and constraints on e-mail addresses: it refuses
/// them all.
fn webpki_knows(path: &[&View]) -> bool {
    let (leaf, above) = path.split_first().map_or((None, &[][..]), |(leaf, above)| (Some(leaf), above));
    leaf.is_some_and(|leaf| !leaf.cert.is_ca)
        && above.iter().rev().skip(1).all(|ca| !ca.is_self_issued())
        && !above.iter().any(|ca| ca.constrains_email())
}

/// Has webpki judge the path that was found.
fn ask_webpki(path: &[&View], at: UnixTime) -> Result<(), ChainRejection> {
    /// Purposes were judged before.
    struct AnyPurpose;
    impl ExtendedKeyUsageValidator for AnyPurpose {
        fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
            Ok(())
        }
    }
    let disagrees = |error: webpki::Error| ChainRejection::Path { why: format!("{error:?}") };
    let ders: Vec<CertificateDer<'_>> =
        path.iter().map(|view| CertificateDer::from(view.cert.der.as_slice())).collect();
    let (Some((leaf, above)), Some(root)) = (ders.split_first(), ders.last()) else { return Ok(()) };
    let between = above.split_last().map_or(&[][..], |(_, between)| between);
    let anchors = [webpki::anchor_from_trusted_cert(root).map_err(disagrees)?];
    let at = std::time::Duration::from_secs(u64::try_from(at.secs()).unwrap_or(0));
    let at = rustls_pki_types::UnixTime::since_unix_epoch(at);
    let leaf = EndEntityCert::try_from(leaf).map_err(disagrees)?;
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, between, at, AnyPurpose, None, None)
        .map(|_| ())
        .map_err(disagrees)
}
