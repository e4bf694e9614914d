//! Every invariant of ARCHITECTURE.md has a test that wears its number, or says `not yet`.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Tree;

const TABLE: &str = "ARCHITECTURE.md";

/// Invariants without a test, tests without an invariant, and names of tests that are not there.
pub(crate) fn unproven(tree: &Tree) -> Vec<String> {
    let rows = rows(&tree.file(TABLE).text);
    let tests = tests(tree);
    let mut complaints = Vec::new();
    if rows.keys().copied().ne(1..=rows.len()) || rows.is_empty() {
        complaints.push(format!("{TABLE}: invariants are numbered from I1 on, without a gap"));
    }
    for (number, row) in &rows {
        let place = format!("{TABLE}:{}: I{number}", row.line);
        let proven = tests.iter().any(|test| worn(&test.name).contains(number));
        match (row.proof.contains("not yet"), proven) {
            (false, false) => complaints
                .push(format!("{place} has no test; name one `i{number}_…`, or write `not yet` in its row")),
            (true, true) => complaints.push(format!("{place} has a test; drop its `not yet`")),
            _ => {}
        }
        for name in row.proof.split('`').skip(1).step_by(2).filter(|name| !worn(name).is_empty()) {
            if !tests.iter().any(|test| test.name == name) {
                complaints.push(format!("{place} names `{name}`, and there is no such test"));
            }
        }
    }
    for test in &tests {
        for number in worn(&test.name).iter().filter(|number| !rows.contains_key(number)) {
            let (place, name) = (&test.place, &test.name);
            complaints.push(format!("{place}: `{name}` wears I{number}, not in {TABLE}'s table"));
        }
    }
    complaints
}

struct Row {
    line: usize,
    proof: String,
}

/// Rows of the form `| I4 | what holds | tests |`.
fn rows(text: &str) -> BTreeMap<usize, Row> {
    let mut rows = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let first = cells.next().and_then(|cell| cell.strip_prefix('I'));
        if let (Some(Ok(invariant)), Some(proof)) = (first.map(str::parse), cells.next_back()) {
            rows.insert(invariant, Row { line: number + 1, proof: proof.to_owned() });
        }
    }
    rows
}

struct TestFn {
    place: String,
    name: String,
}

/// Every test function of the tree.
fn tests(tree: &Tree) -> Vec<TestFn> {
    let mut tests = Vec::new();
    for file in tree.rust() {
        let mut marked = false;
        for (number, line) in file.code.lines().enumerate() {
            let line = line.trim();
            marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            if let (true, Some(name)) = (marked, function_name(line)) {
                let place = format!("{}:{}", file.path, number + 1);
                tests.push(TestFn { place, name: name.to_owned() });
                marked = false;
            }
        }
    }
    tests
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").unwrap_or(line);
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

/// The numbers a name opens with: `i4_i8_a_refused_join_leaves_nothing` wears 4 and 8.
fn worn(name: &str) -> BTreeSet<usize> {
    let number = |part: &str| part.strip_prefix('i').and_then(|digits| digits.parse().ok());
    name.split('_').map_while(number).collect()
}

#[test]
fn names_wear_their_leading_numbers() {
    assert_eq!(worn("i4_i8_refused"), BTreeSet::from([4, 8]));
    assert_eq!(worn("reads_i64_values"), BTreeSet::new());
}

#[test]
fn rows_are_read() {
    let rows = rows("| no | what | test |\n|---|---|---|\n| I4 | holds | `i4_x` |\n");
    assert_eq!(rows[&4].proof, "`i4_x`");
    assert_eq!(rows[&4].line, 3);
}
