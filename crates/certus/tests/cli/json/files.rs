//! What is made of files: no cluster, no daemon.

use super::book::Book;
use crate::harness::World;

pub(super) fn run(book: &Book) {
    let world = World::new();
    authority(book, &world);
    keys(book, &world);
    configuration(book, &world);
    let error = world.run(&["cert", "list", "--json"]);
    book.holds("error", &serde_json::from_str(&error.stderr).unwrap());
    let man = world.run(&["man", "--output-dir", "pages", "--json"]).ok().json();
    book.holds("certus man", &man);
}

fn authority(book: &Book, world: &World) {
    let ask = |heading: &str, words: &[&str]| {
        let answer = world.run(&[words, &["--json"]].concat());
        assert!([0, 3].contains(&answer.code), "{words:?}: {}", answer.stderr);
        book.holds(heading, &answer.json());
    };
    ask("certus ca init", &["tls", "init", "--output-dir", "certs", "--hosts", "host-a=10.0.0.1,host-b"]);
    ask("certus ca init", &["ca", "init", "--preset", "private", "-o", "private"]);
    ask("certus ca add-issuer", &["ca", "add-issuer", "--ca", "private", "--cn", "another"]);
    ask("certus ca bundle", &["ca", "bundle", "--ca", "certs"]);
    ask("certus cert issue", &["cert", "issue", "--role", "server", "web", "--ca", "certs"]);
    ask("certus cert list --ca", &["cert", "list", "--ca", "certs"]);
    ask("certus cert verify", &["cert", "verify", "certs/web/server.crt", "--ca", "certs/ca.crt"]);
    ask("certus cert check", &["cert", "check", "certs", "--days", "400"]);
    ask("certus cert export", &["cert", "export", "certs/web/server.crt", "--der", "--out", "web.der"]);
    ask("certus cert revoke --ca", &["cert", "revoke", "host-b", "--ca", "certs"]);
    ask("certus cert list --ca", &["cert", "list", "--ca", "certs", "--all"]);
    ask("certus ca crl", &["ca", "crl", "--ca", "certs"]);
    ask("certus ca status", &["ca", "status", "--ca", "certs"]);
    ask("certus cert info", &["cert", "info", "certs/ca.crl"]);
    ask("certus cert info", &["cert", "info", "certs/web/server.crt"]);
    for step in [&[][..], &["--activate"]] {
        ask("certus ca rotate", &[&["ca", "rotate", "--ca", "certs"], step].concat());
    }
    ask("certus ca status", &["ca", "status", "--ca", "certs"]);
}

fn keys(book: &Book, world: &World) {
    let ask = |heading: &str, words: &[&str]| {
        book.holds(heading, &world.run(&[words, &["--json"]].concat()).ok().json());
    };
    world.write("pass", "correct horse\n");
    ask("certus key new", &["key", "new", "--out", "a.key"]);
    ask("certus key inspect", &["key", "inspect", "a.key"]);
    ask("certus cert info", &["cert", "info", "a.key"]);
    world.run(&["csr", "new", "--key", "a.key", "--cn", "web-9", "--out", "a.csr"]).ok();
    ask("certus csr info", &["csr", "info", "a.csr"]);
    ask("certus cert info", &["cert", "info", "a.csr"]);
    ask("certus cert sign", &["cert", "sign", "a.csr", "--ca", "certs", "--role", "server"]);
    ask(
        "certus cert sign",
        &["cert", "sign", "a.csr", "--ca", "certs", "--role", "client", "--out", "a.crt"],
    );
    ask(
        "certus key change-passphrase",
        &["key", "change-passphrase", "a.key", "--new-passphrase-file", "pass"],
    );
    ask("certus key inspect", &["key", "inspect", "a.key"]);
}

fn configuration(book: &Book, world: &World) {
    let ask = |heading: &str, words: &[&str]| {
        book.holds(heading, &world.run(&[words, &["--json"]].concat()).ok().json());
    };
    ask("certus init", &["init", "--self-signed"]);
    ask("certus config check", &["config", "check", "certus.yaml"]);
    ask("certus config show", &["config", "show", "certus.yaml"]);
    ask("certus config schema", &["config", "schema"]);
    let peers = "id: web-1\npeers:\n  - {name: db, id: \"spiffe://prod/worker/db\", transport: h2, address: 'db:9443', listen: '127.0.0.1:5432'}\n";
    world.write("worker.yaml", peers);
    ask("certus config check", &["config", "check", "worker.yaml"]);
}
