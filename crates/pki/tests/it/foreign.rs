//! Other people's CAs, requests and recipes, made with openssl: what we issue below them, and what we say
//! of what they issue.

use certus_pki::{
    Certificate, ChainRejection, Csr, Explain, Issuer, KeyType, Names, PrivateKey, Request, Signer, Subject,
    TakeNames, Usage, Validity, pem,
};

use crate::offline::{judge, key, names, serial, web};
use crate::openssl::Openssl;
use crate::world::NOW;

/// Makes a root of this name, with extensions of its own where some are stated, valid around the tests' now.
fn foreign_root(
    openssl: &Openssl,
    file: &str,
    subject: &str,
    curve: &str,
    extensions: &str,
) -> (Issuer, PrivateKey) {
    let config = format!(
        "[req]\ndistinguished_name=dn\nx509_extensions=ext\nstring_mask=utf8only\nutf8=yes\n[dn]\n[ext]\n{extensions}\n"
    );
    openssl.write("root.cnf", config.as_bytes());
    let (key, cert) = (format!("{file}.key"), format!("{file}.crt"));
    let parameter = format!("ec_paramgen_curve:{curve}");
    let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", &parameter, "-sha256", "-nodes", "-utf8"];
    let named = [
        "-config",
        "root.cnf",
        "-subj",
        subject,
        "-multivalue-rdn",
        "-days",
        "3650",
        "-keyout",
        &key,
        "-out",
        &cert,
    ];
    openssl.run(&new, &named);
    let certificate = Certificate::many_from_pem(&openssl.text(&cert)).unwrap().remove(0);
    let key = PrivateKey::from_pem(&openssl.text(&key)).ok().unwrap();
    (Issuer::from_der(&certificate.der).unwrap(), key)
}

const OPENSSL_DEFAULT: &str = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always,issuer\nbasicConstraints=critical,CA:true";
/// As easy-rsa 3 writes its CA: constraints not critical, the issuer named in full.
const EASY_RSA: &str = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always,issuer:always\n\
     basicConstraints=CA:true\nkeyUsage=cRLSign,keyCertSign";
const MKCERT: &str =
    "subjectKeyIdentifier=hash\nbasicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign";

#[test]
fn leaves_below_foreign_cas_keep_the_issuers_name_to_the_byte() {
    let Some(openssl) = Openssl::find("foreign-names") else { return };
    for (file, subject, curve, extensions) in [
        ("ad", "/DC=com/DC=example/OU=a/OU=b/CN=AD Root", "P-256", OPENSSL_DEFAULT),
        ("utf8", "/C=DE/O=Müller \\+ Söhne/CN=Wurzel 株式会社", "P-384", OPENSSL_DEFAULT),
        ("multi", "/O=x/CN=Root+OU=Ops+L=Here", "P-256", MKCERT),
        ("easy", "/CN=Easy-RSA CA", "P-384", EASY_RSA),
    ] {
        let (ca, ca_key) = foreign_root(&openssl, file, subject, curve, extensions);
        let leaf_key = key(KeyType::P256);
        let now = ca.certificate().not_before.plus(certus_pki::Lifetime::from_hours(1));
        let mut plan = web(Usage::ANY);
        plan.validity = Validity::starting(now, certus_pki::Lifetime::from_days(90));
        let leaf = ca.sign_cert(&plan, leaf_key.public_key(), serial(2), &ca_key).unwrap();
        let read = Certificate::from_der(&leaf).unwrap();
        assert_eq!(read.issuer_der, ca.certificate().subject_der, "{file}");
        assert_eq!(read.authority_key_id, ca.certificate().subject_key_id, "{file}");
        openssl.write("leaf.crt", pem::encode(pem::CERTIFICATE, &leaf).as_bytes());
        let root = format!("{file}.crt");
        let at = now.secs().to_string();
        openssl.run(&["verify", "-attime", &at, "-purpose", "sslserver", "-CAfile", &root], &["leaf.crt"]);
        let roots = [ca.certificate().der.as_slice()];
        let query = certus_pki::ChainQuery::at(now, &roots);
        certus_pki::verify_chain(&leaf, &query).unwrap();
    }
}

#[test]
fn recipes_that_leave_names_out_are_refused_with_the_corrected_lines() {
    let Some(openssl) = Openssl::find("foreign-recipes") else { return };
    // The recipe that circulates: a version 1 leaf without names.
    openssl.run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key"], &[]);
    let root = ["req", "-x509", "-new", "-nodes", "-key", "ca.key", "-sha256", "-days", "3650"];
    openssl.run(&root, &["-out", "ca.crt", "-subj", "/CN=My Mesh CA"]);
    openssl.run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "agent.key"], &[]);
    openssl.run(&["req", "-new", "-key", "agent.key", "-out", "agent.csr", "-subj", "/CN=agent-1"], &[]);
    let sign = ["x509", "-req", "-in", "agent.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
    openssl.run(&sign, &["-out", "agent.crt", "-days", "3650", "-sha256"]);
    let read = |file: &str| Certificate::many_from_pem(&openssl.text(file)).unwrap().remove(0);
    let ca = read("ca.crt");
    let judge = |leaf: &Certificate| {
        let roots = [ca.der.as_slice()];
        let wanted = ["dns:agent-1".parse().unwrap()];
        let mut query = certus_pki::ChainQuery::at(leaf.not_before, &roots);
        (query.names, query.purpose) = (&wanted, Some(certus_pki::Purpose::Server));
        certus_pki::verify_chain(&leaf.der, &query)
    };
    let refused = judge(&read("agent.crt")).unwrap_err().explain();
    assert!(
        refused.to_string().contains("version 3") && refused.to_string().contains("version 1"),
        "{refused}"
    );
    let hint = refused.hint.unwrap();
    // The hint's own lines make a certificate that is accepted.
    let (_, script) = hint.split_once("openssl x509").unwrap();
    let (arguments, extensions) = script.split_once("-extfile <(printf '").unwrap();
    let extensions = extensions.trim_end_matches("')").replace("\\n", "\n");
    openssl.write("agent.ext", extensions.as_bytes());
    let arguments: Vec<&str> = std::iter::once("x509").chain(arguments.split_whitespace()).collect();
    openssl.run(&arguments, &["-extfile", "agent.ext"]);
    judge(&read("agent.crt")).unwrap();
    // Names in the common name only.
    openssl.write("cn.ext", b"basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n");
    openssl.run(&sign, &["-out", "cn.crt", "-days", "3650", "-sha256", "-extfile", "cn.ext"]);
    let refused = judge(&read("cn.crt")).unwrap_err();
    assert!(
        matches!(&refused, ChainRejection::WrongName { common_name: Some(name), .. } if name == "agent-1")
    );
    assert!(refused.explain().hint.is_some_and(|hint| hint.contains("subjectAltName")));
}

#[test]
fn foreign_requests_are_read_as_claims_and_ours_are_accepted() {
    let Some(openssl) = Openssl::find("foreign-requests") else { return };
    let asked = "subjectAltName=DNS:web.example.com,IP:10.0.0.7,email:ann@example.com";
    for (algorithm, parameter) in
        [("ec", "ec_paramgen_curve:P-384"), ("rsa", "rsa_keygen_bits:2048"), ("ed25519", "")]
    {
        let new =
            ["req", "-new", "-newkey", algorithm, "-nodes", "-sha256", "-keyout", "a.key", "-out", "a.csr"];
        let mut options =
            vec!["-subj", "/O=Evil/CN=web", "-addext", asked, "-addext", "basicConstraints=CA:TRUE"];
        if !parameter.is_empty() {
            options.extend(["-pkeyopt", parameter]);
        }
        openssl.run(&new, &options);
        let request = Request::from_pem(&openssl.text("a.csr")).unwrap();
        let key = PrivateKey::from_pem(&openssl.text("a.key")).ok().unwrap();
        assert_eq!(request.public_key, *key.public_key());
        assert_eq!(request.claims.subject.to_string(), "CN=web,O=Evil");
        assert!(request.claims.is_ca && request.claims.names.len() == 3);
        let take = |allow: &[&str]| {
            let allow = allow.iter().map(|pattern| pattern.parse().unwrap()).collect();
            TakeNames::FromRequest { allow }.names(&request.claims)
        };
        assert!(TakeNames::None.names(&request.claims).unwrap().is_empty());
        assert_eq!(take(&["*.example.com", "10.0.0.0/8", "*@example.com"]).unwrap().len(), 3);
        let refused = take(&["*.example.com", "10.0.0.0/8"]).unwrap_err().explain();
        assert!(refused.to_string().contains("email:ann@example.com"), "{refused}");
    }
    for key_type in crate::offline::KEY_TYPES {
        let subject: Subject = "CN=web,OU=b,OU=a,O=Müller".parse().unwrap();
        for names in [Names::none(), names(&["*.example.com", "2001:db8::7", "https://example.com/x"])] {
            let der = Csr::make_for(&key(key_type), &subject, &names).unwrap();
            assert!(Request::read(&der).unwrap().claims.names.iter().eq(names.iter()));
            openssl.write("ours.csr", pem::encode(pem::CERTIFICATE_REQUEST, &der).as_bytes());
            let said = openssl.run(&["req", "-noout", "-verify", "-text", "-in"], &["ours.csr"]);
            assert!(said.contains("OK"), "{said}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_chain_is_said_of_the_right_certificate() {
    let ca_key = key(KeyType::P256);
    let ca = crate::offline::root(&ca_key);
    let leaf = |usage| ca.sign_cert(&web(usage), ca_key.public_key(), serial(2), &ca_key).unwrap();
    let roots = [ca.certificate().der.as_slice()];
    let refused = judge(&leaf(Usage::CLIENT), &[], &roots, None).unwrap_err();
    assert!(
        matches!(&refused, ChainRejection::WrongPurpose { came, .. } if came == "clientAuth"),
        "{refused}"
    );
    let refused = judge(&leaf(Usage::SERVER), &[], &roots, Some("other.example.com")).unwrap_err();
    assert!(refused.explain().to_string().contains("dns:web.example.com"), "{}", refused.explain());
    // Made anew under its old name, with its old key identifier forgotten.
    let again = crate::offline::root(&key(KeyType::P256));
    let refused = judge(&leaf(Usage::SERVER), &[], &[&again.certificate().der], None).unwrap_err();
    assert!(!refused.explain().facts.is_empty(), "{refused}");
    let mut query = certus_pki::ChainQuery::at(NOW.plus(certus_pki::Lifetime::from_days(400)), &roots);
    query.max_depth = Some(0);
    let refused = certus_pki::verify_chain(&leaf(Usage::SERVER), &query).unwrap_err();
    assert!(matches!(&refused, ChainRejection::Expired { which, .. } if which == "CN=web"), "{refused}");
    // A CA in the place of the leaf, and a root on its own.
    query.at = NOW;
    assert_eq!(certus_pki::verify_chain(roots[0], &query).unwrap().path.len(), 1);
}

#[test]
fn sha_1_is_named_as_the_reason() {
    let Some(openssl) = Openssl::find("foreign-sha1") else { return };
    let (ca, _) = foreign_root(&openssl, "ca", "/CN=ca", "P-256", OPENSSL_DEFAULT);
    openssl.write("leaf.ext", b"subjectAltName=DNS:a\nauthorityKeyIdentifier=keyid\n");
    openssl.run(
        &["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
        &["-keyout", "a.key", "-out", "a.csr", "-subj", "/CN=a"],
    );
    let sign = ["x509", "-req", "-sha1", "-in", "a.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "99"];
    openssl.run(&sign, &["-CAcreateserial", "-extfile", "leaf.ext", "-out", "a.crt"]);
    let leaf = Certificate::many_from_pem(&openssl.text("a.crt")).unwrap().remove(0);
    let roots = [ca.certificate().der.as_slice()];
    let refused = certus_pki::verify_chain(&leaf.der, &certus_pki::ChainQuery::at(leaf.not_before, &roots));
    let refused = refused.unwrap_err();
    assert!(
        matches!(&refused, ChainRejection::Rule(rule) if rule.rule == "signature algorithm"),
        "{refused}"
    );
}

#[test]
fn a_pair_is_checked_before_it_is_loaded_and_renewed_when_its_time_comes() {
    let ca_key = key(KeyType::P256);
    let ca = crate::offline::root(&ca_key);
    let leaf_key = key(KeyType::Ed25519);
    let leaf = ca.sign_cert(&web(Usage::SERVER), leaf_key.public_key(), serial(2), &ca_key).unwrap();
    let chain = [Certificate::from_der(&leaf).unwrap()];
    let roots = [ca.certificate().clone()];
    let verified = certus_pki::chain::validate(&chain, &leaf_key, &roots, NOW).unwrap();
    assert_eq!(verified.not_after, chain[0].not_after);
    let refused = certus_pki::chain::validate(&chain, &ca_key, &roots, NOW);
    assert!(matches!(refused, Err(ChainRejection::WrongKey { .. })));
    let due = |days| {
        let now = NOW.plus(certus_pki::Lifetime::from_days(days));
        certus_pki::renewal::needs_rotation(&chain[0], now, certus_pki::defaults::RENEW_AT_PERMILLE)
    };
    assert_eq!((due(0), due(243), due(244), due(400)), (false, false, true, true));
}
