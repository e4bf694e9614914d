//! Where the managers are: what the configuration says, what the managers say, and what is known of each.
//!
//! What the configuration says is never forgotten: should everything that was learned be wrong, it is the
//! way back. Dials nobody.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Cause;
use crate::clock::jitter;

/// More addresses than a cluster has managers; what comes above is left out.
const ADDRESSES_MAX: usize = 64;
/// The longest name that DNS carries, a colon and a port.
const ADDRESS_BYTES_MAX: usize = 253 + 6;
/// An address that failed is tried after the others for so long: a manager that starts again takes less,
/// and one that hangs costs every dial seconds.
const SHUNNED: Duration = Duration::from_secs(60);

/// The addresses, shared by everybody who dials.
pub(super) struct Book {
    pages: Mutex<Pages>,
    /// Whether those who hold the same addresses shall not all begin with the same one.
    spread: bool,
}

struct Pages {
    configured: Vec<String>,
    learned: Vec<String>,
    /// The one that answered last.
    works: Option<String>,
    failed: Vec<(String, Instant, Cause)>,
    has_failed: bool,
}

impl Book {
    pub(super) fn new(mut configured: Vec<String>, learned: &[String], spread: bool) -> Book {
        configured.truncate(ADDRESSES_MAX);
        let learned = dialable(learned);
        let pages = Pages { configured, learned, works: None, failed: Vec::new(), has_failed: false };
        Book { pages: Mutex::new(pages), spread }
    }

    /// Takes over what managers say; returns whether it is news. A list without one good address is none.
    pub(super) fn learn(&self, addresses: &[String]) -> bool {
        let learned = dialable(addresses);
        let mut pages = self.pages();
        if learned.is_empty() || learned == pages.learned {
            return false;
        }
        pages.learned = learned;
        let Pages { configured, learned, failed, .. } = &mut *pages;
        failed.retain(|(address, ..)| configured.contains(address) || learned.contains(address));
        true
    }

    pub(super) fn learned(&self) -> Vec<String> {
        self.pages().learned.clone()
    }

    /// Every address in the order in which to try them: the one that works, the others, and last those
    /// that failed a moment ago.
    pub(super) fn order(&self) -> Vec<String> {
        let pages = self.pages();
        let mut order = Vec::with_capacity(pages.learned.len() + pages.configured.len());
        for address in pages.learned.iter().chain(&pages.configured) {
            if !order.contains(address) {
                order.push(address.clone());
            }
        }
        if self.spread {
            shuffle(&mut order);
        }
        let now = Instant::now();
        let rank = |address: &String| {
            let failed = pages.failed.iter().any(|(at, when, _)| at == address && now - *when < SHUNNED);
            (failed, pages.works.as_ref() != Some(address))
        };
        order.sort_by_key(rank);
        order
    }

    /// Every address, for an error that names them.
    pub(super) fn all(&self) -> Vec<String> {
        let mut all = self.order();
        all.sort();
        all
    }

    pub(super) fn works(&self, address: &str) {
        let mut pages = self.pages();
        pages.works = Some(address.to_owned());
        pages.failed.retain(|(at, ..)| at != address);
    }

    /// Chooses anew at the next dial, and not because anything failed.
    pub(super) fn choose_anew(&self) {
        self.pages().works = None;
    }

    /// The one that answered last, unless it failed since.
    pub(super) fn working(&self) -> Option<String> {
        self.pages().works.clone()
    }

    pub(super) fn failed(&self, address: &str, cause: Cause) {
        let mut pages = self.pages();
        pages.has_failed = true;
        if pages.works.as_deref() == Some(address) {
            pages.works = None;
        }
        pages.failed.retain(|(at, ..)| at != address);
        pages.failed.push((address.to_owned(), Instant::now(), cause));
    }

    /// What somebody else found at `address` after `since`.
    pub(super) fn failed_since(&self, address: &str, since: Instant) -> Option<Cause> {
        let pages = self.pages();
        let found = pages.failed.iter().find(|(at, when, _)| at == address && *when >= since);
        found.map(|(_, _, cause)| cause.clone())
    }

    /// Whether any address ever failed.
    pub(super) fn has_failed(&self) -> bool {
        self.pages().has_failed
    }

    fn pages(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The good ones of what somebody says, each once.
fn dialable(addresses: &[String]) -> Vec<String> {
    let mut good: Vec<String> = Vec::new();
    for address in addresses.iter().filter(|address| is_dialable(address)) {
        if good.len() < ADDRESSES_MAX && !good.contains(address) {
            good.push(address.clone());
        }
    }
    good
}

/// HOST:PORT that somebody can dial: no address that stands for all of a machine's, and no port 0.
pub fn is_dialable(text: &str) -> bool {
    if text.len() > ADDRESS_BYTES_MAX {
        return false;
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return address.port() != 0 && !address.ip().is_unspecified();
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let named = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    named && !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn shuffle(addresses: &mut [String]) {
    for last in (1..addresses.len()).rev() {
        // Of 64 at most, so that a byte is chance enough.
        addresses.swap(last, usize::from(jitter()) % (last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn io() -> Cause {
        Cause::Io("refused".to_owned())
    }

    #[test]
    fn the_one_that_works_comes_first_and_those_that_failed_last() {
        let book = Book::new(words("a:1 b:2 c:3"), &[], false);
        assert_eq!(book.order(), words("a:1 b:2 c:3"));
        book.failed("a:1", io());
        assert_eq!(book.order(), words("b:2 c:3 a:1"));
        book.works("c:3");
        assert_eq!((book.order(), book.working()), (words("c:3 b:2 a:1"), Some("c:3".into())));
        book.failed("c:3", io());
        assert_eq!((book.order(), book.working()), (words("b:2 a:1 c:3"), None));
        assert!(book.has_failed());
        book.works("c:3");
        book.choose_anew();
        assert_eq!(book.working(), None, "by choice, and nothing is shunned for it");
        assert_eq!(book.order(), words("b:2 c:3 a:1"));
    }

    #[test]
    fn what_the_configuration_says_is_never_forgotten() {
        let book = Book::new(words("a:1 b:2"), &words("l:1"), false);
        assert_eq!(book.order(), words("l:1 a:1 b:2"));
        assert!(book.learn(&words("b:2 m:7")));
        assert!(!book.learn(&words("b:2 m:7")));
        assert_eq!(book.order(), words("b:2 m:7 a:1"));
        // Nothing that could be dialled is no list.
        for nonsense in ["", "0.0.0.0:7443", "[::]:7443 x", "h:0", "a b:1 h:70000"] {
            let list: Vec<String> = nonsense.split(' ').map(str::to_owned).filter(|a| a != "b:1").collect();
            assert!(!book.learn(&list), "{nonsense}");
        }
        assert_eq!(book.learned(), words("b:2 m:7"));
    }

    #[test]
    fn a_list_is_bounded_and_its_addresses_are_checked() {
        let many: Vec<String> = (1..=1000).map(|port| format!("h:{port}")).collect();
        let book = Book::new(words("a:1"), &[], false);
        book.learn(&many);
        assert_eq!((book.learned().len(), book.order().len()), (ADDRESSES_MAX, ADDRESSES_MAX + 1));
        for good in ["m1.internal:7443", "10.0.0.7:7443", "[::1]:7443", "[2001:db8::7]:1"] {
            assert!(is_dialable(good), "{good}");
        }
        let long = format!("{}:1", "h".repeat(300));
        for bad in [&long[..], "h", ":1", "h:", "h:x", "h/x:1", "http://h:1", "0.0.0.0:1", "2001:db8::7:1"] {
            assert!(!is_dialable(bad), "{bad}");
        }
    }

    #[test]
    fn nodes_do_not_all_begin_at_the_same_manager() {
        let first = || Book::new(words("a:1 b:2 c:3"), &[], true).order().remove(0);
        let firsts: std::collections::BTreeSet<String> = (0..200).map(|_| first()).collect();
        assert_eq!(firsts.len(), 3);
        let book = Book::new(words("a:1 b:2 c:3 d:4"), &[], true);
        book.works("a:1");
        book.failed("a:1", io());
        let seconds: std::collections::BTreeSet<String> = (0..200).map(|_| book.order().remove(0)).collect();
        assert_eq!(seconds, words("b:2 c:3 d:4").into_iter().collect());
    }
}
