//! `docs/json.md` is what commands print: every shape in it is held against a real answer, and every command
//! has its place there.

mod book;
mod cluster;
mod files;

use crate::harness::World;
use book::Book;

#[test]
fn every_document_is_as_it_is_written() {
    let book = Book::read();
    std::thread::scope(|scope| {
        scope.spawn(|| files::run(&book));
        scope.spawn(|| cluster::keys(&book));
        scope.spawn(|| cluster::backups(&book));
        scope.spawn(|| cluster::managers(&book));
        cluster::nodes(&book);
    });
    let left = book.not_seen();
    assert!(left.is_empty(), "written in docs/json.md, and no answer was held against it: {left:?}");
}

#[test]
fn every_command_has_its_place_in_the_document() {
    let (world, book) = (World::new(), Book::read());
    let pages = world.run(&["man", "--output-dir", "man", "--json"]).ok().json();
    let pages: Vec<&str> =
        pages["pages"].as_array().unwrap().iter().map(|page| page.as_str().unwrap()).collect();
    let stems: Vec<&str> = pages.iter().map(|page| page.trim_end_matches(".1")).collect();
    let is_leaf = |stem: &&&str| !stems.iter().any(|other| other.starts_with(&format!("{stem}-")));
    let missing: Vec<_> = stems.iter().filter(is_leaf).filter(|stem| !book.names(stem)).collect();
    assert!(missing.is_empty(), "not in docs/json.md: {missing:?}");
}
