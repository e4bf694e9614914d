//! `docs/defaults.md` is made from the table of defaults, here.

use certus_pki::defaults::TABLE;

const HEADING: &str = "\
# Defaults

Every lifetime, timeout and bound that a user can meet, with the option that sets it and the reason. Made from
`crates/pki/src/defaults.rs`; change it there, then run `CERTUS_BLESS=1 cargo test -p certus-pki defaults`.

| what | default | set by | why |
|---|---|---|---|
";

#[test]
fn the_document_of_defaults_says_what_the_code_does() {
    let row = |d: &certus_pki::defaults::Default| {
        format!("| {} | {} | {} | {} |\n", d.name, (d.value)(), d.set_by, d.reason)
    };
    let made: String = std::iter::once(HEADING.to_owned()).chain(TABLE.iter().map(row)).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/defaults.md");
    if std::env::var_os("CERTUS_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(path, &made).expect("docs/defaults.md can be written");
    }
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stands == made,
        "docs/defaults.md is not what crates/pki/src/defaults.rs says; rewrite it with \
         `CERTUS_BLESS=1 cargo test -p certus-pki defaults`\n\nexpected:\n{made}"
    );
}

#[test]
fn every_row_is_one_row() {
    for row in TABLE {
        let cells = [row.name, &(row.value)(), row.set_by, row.reason];
        assert!(cells.iter().all(|cell| !cell.is_empty() && !cell.contains(['|', '\n'])), "{cells:?}");
    }
    assert!(TABLE.iter().enumerate().all(|(at, row)| TABLE[..at].iter().all(|other| other.name != row.name)));
}
