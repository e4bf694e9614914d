//! A certificate authority as a library: a root, a request, a certificate, a revocation list. No files, no
//! clock, no network.
//!
//! `cargo run -p certus-examples --example issue_in_memory`
#![allow(clippy::print_stdout, reason = "an example shows what came of it")]

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use certus_pki::request::{Request, TakeNames};
use certus_pki::{
    AuthorityPlan, CertPlan, Certificate, ChainQuery, Crl, CrlPlan, Csr, Issuer, KeyType, Lifetime, Names,
    PrivateKey, Purpose, Reason, RevokedCert, Serial, UnixTime, Usage, Validity, defaults, pem, renewal,
    verify_chain,
};

/// What was made, as PEM, and what was said of it.
pub struct Made {
    /// The root.
    pub root: String,
    /// The certificate.
    pub leaf: String,
    /// The revocation list.
    pub crl: String,
    /// Why the revoked certificate is refused.
    pub refused: String,
}

/// Issues and revokes at `now`, with serial numbers from `serial`.
pub fn run(now: UnixTime, mut serial: impl FnMut() -> Serial) -> Result<Made, Box<dyn Error + Send + Sync>> {
    // The authority: a key and a certificate that it signed itself, for ten years.
    let root_key = PrivateKey::generate(KeyType::P384)?;
    let validity = Validity::starting(now, defaults::ROOT_LIFETIME);
    let plan = AuthorityPlan::new("CN=Example Root,O=Example".parse()?, Some(0), validity);
    let root = Issuer::found(&plan, serial(), &root_key)?;

    // Whoever wants a certificate makes the key, and sends a request.
    let web_key = PrivateKey::generate(KeyType::P256)?;
    let wanted = Names::new(["web.example.com".parse()?, "10.0.0.7".parse()?])?;
    let csr = Csr::make_for(&web_key, &"CN=web".parse()?, &wanted)?;

    // Of the request the key is proven; which of its names are taken is the authority's decision.
    let request = Request::read(&csr)?;
    let policy = TakeNames::FromRequest { allow: vec![".example.com".parse()?, "10.0.0.0/8".parse()?] };
    let names = policy.names(&request.claims)?;
    let validity = Validity::starting(now, Lifetime::from_days(90)).capped(&root);
    let plan = CertPlan::new(request.claims.subject.clone(), names, Usage::SERVER, validity);
    let leaf = root.sign_cert(&plan, &request.public_key, serial(), &root_key)?;

    // Anybody with the root can check it.
    let roots = [root.certificate().der.as_slice()];
    let names = ["dns:web.example.com".parse()?];
    let query = ChainQuery { purpose: Some(Purpose::Server), names: &names, ..ChainQuery::at(now, &roots) };
    verify_chain(&leaf, &query)?;
    let certificate = Certificate::from_der(&leaf)?;
    assert!(!renewal::needs_rotation(&certificate, now, defaults::RENEW_AT_PERMILLE));

    // Revoked, it is refused by whoever has the list.
    let revoked = RevokedCert { serial: certificate.serial, at: now, reason: Reason::KeyCompromise };
    let crl = root.sign_crl(
        &CrlPlan {
            number: 1,
            previous: None,
            this_update: now,
            next_update: now.plus(Lifetime::from_days(7)),
            revoked: vec![revoked],
        },
        &root_key,
    )?;
    let crls = [Crl::from_der(&crl)?];
    let refused = match verify_chain(&leaf, &ChainQuery { crls: &crls, ..query }) {
        Ok(_) => return Err("a revoked certificate was accepted".into()),
        Err(rejection) => rejection.to_string(),
    };
    let (root, leaf) = (root.certificate().to_pem(), pem::encode(pem::CERTIFICATE, &leaf));
    Ok(Made { root, leaf, crl: crls[0].to_pem(), refused })
}

/// 128 random bits, as a serial number should be (RFC 5280 4.1.2.2).
pub fn random_serial() -> Serial {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness, or no key could be made either");
    Serial::from_random(bytes)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = UnixTime::from_secs(i64::try_from(since.as_secs())?);
    let made = run(now, random_serial)?;
    println!("{}{}{}{}", made.root, made.leaf, made.crl, made.refused);
    Ok(())
}
