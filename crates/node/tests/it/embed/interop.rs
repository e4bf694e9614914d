//! Other programs' certificates, and other programs at the other end.
#![allow(clippy::print_stderr, reason = "a skip must be seen")]

use std::path::Path;
use std::process::Command;

use certus_node::embed::Versions;

use super::http::who_asks;
use super::*;
use crate::sources::interop::{openssl_is_there, shell};

/// Whether a program is on the path; a failure where it must be.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !there {
        let required = std::env::var_os("CERTUS_REQUIRE_INTEROP").is_some_and(|value| value == "1");
        assert!(!required, "{program} is not installed, and CERTUS_REQUIRE_INTEROP=1");
        eprintln!("SKIPPED: {program} is not installed");
    }
    there
}

/// Runs a program that talks to an endpoint of this process: whether it succeeded, and what it said.
async fn run(dir: &Path, line: String) -> (bool, String) {
    let dir = dir.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let output = Command::new("bash").args(["-c", &line]).current_dir(dir).output().unwrap();
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
        (output.status.success(), said)
    });
    soon("another program", ran).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_served_with_its_certificate_and_refused_without() {
    if !is_there("curl") {
        return;
    }
    let site = Site::new();
    let web = site.endpoint("web").await;
    let address = who_asks(&web).await.replace("127.0.0.1", "localhost");
    site.files("peer");
    let curl = format!("curl --silent --show-error --max-time 20 --cacert ca.crt https://{address}/");
    let (worked, said) = run(site.dir.path(), format!("{curl} --cert peer.crt --key peer.key")).await;
    assert!(worked && said == "hello, peer.site.test", "{said}");
    let (worked, said) = run(site.dir.path(), curl).await;
    assert!(!worked, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_spoken_where_asked_for_and_nowhere_else() {
    if !openssl_is_there() {
        return;
    }
    let site = Site::new();
    site.files("peer");
    for (versions, old) in [(Versions::Tls13, false), (Versions::Tls12AndUp, true)] {
        let web = built(TlsOptions::new(site.files("web")).versions(versions)).await;
        let mut echo = echo(&web).await;
        for (flag, expected) in [("-tls1_2", old), ("-tls1_3", true)] {
            let line = format!(
                "echo Q | openssl s_client -connect {} {flag} -cert peer.crt -key peer.key -CAfile ca.crt \
                 -verify_return_error -brief",
                echo.address
            );
            let (worked, said) = run(site.dir.path(), line).await;
            assert_eq!(worked, expected, "{versions:?} {flag}: {said}");
            if expected {
                assert_eq!(echo.who().await.name(), "peer.site.test");
            }
        }
    }
}

const OPENSSL: &str = r#"
umask 077
openssl genrsa -out ca.key 3072
openssl req -new -x509 -days 365 -key ca.key -out ca.crt -subj "/CN=Example CA/O=Example"
for node in web peer; do
  openssl genrsa -out $node.key 2048
  openssl req -new -key $node.key -out $node.csr -subj "/CN=$node/O=Example"
  cat > $node.cnf << END
[req]
distinguished_name = req_distinguished_name
req_extensions = v3_req
[req_distinguished_name]
CN = $node
[v3_req]
subjectAltName = @alt_names
[alt_names]
DNS.1 = $node
DNS.2 = localhost
IP.1 = 127.0.0.1
END
  openssl x509 -req -days 90 -in $node.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out $node.crt \
    -extfile $node.cnf -extensions v3_req
done
"#;

const CFSSL: &str = r#"
umask 077
echo '{"CN":"Example CA","key":{"algo":"ecdsa","size":256}}' > ca-csr.json
cat > cfssl.json << END
{"signing":{"profiles":{"client-server":{"expiry":"2160h",
 "usages":["signing","key encipherment","server auth","client auth"]}}}}
END
cfssl gencert -initca ca-csr.json | cfssljson -bare ca
for node in web peer; do
  echo '{"CN":"'$node'","hosts":["'$node'","localhost","127.0.0.1"],"key":{"algo":"ecdsa","size":256}}' > $node.json
  cfssl gencert -ca=ca.pem -ca-key=ca-key.pem -config=cfssl.json -profile=client-server $node.json \
    | cfssljson -bare $node
  mv $node.pem $node.crt; mv $node-key.pem $node.key
done
mv ca.pem ca.crt
"#;

/// Two endpoints of the certificates that a recipe makes: each is accepted by the other.
async fn recipe_serves(recipe: &str) {
    let dir = tempfile::tempdir().unwrap();
    shell(dir.path(), &format!("set -eo pipefail\n{recipe}"));
    let file = |name: &str| dir.path().join(name);
    let of = |name: &str| {
        let (cert, key) = (file(&format!("{name}.crt")), file(&format!("{name}.key")));
        built(TlsOptions::new(TlsSource::files(cert, key, file("ca.crt"))))
    };
    let (web, peer) = (of("web").await, of("peer").await);
    let mut echo = echo(&web).await;
    reaches(&peer, &echo).await;
    assert_eq!(echo.who().await.name(), "peer");
}

#[tokio::test]
async fn certificates_of_openssl_are_accepted() {
    if openssl_is_there() {
        recipe_serves(OPENSSL).await;
    }
}

#[tokio::test]
async fn certificates_of_cfssl_are_accepted() {
    if is_there("cfssl") && is_there("cfssljson") {
        recipe_serves(CFSSL).await;
    }
}
