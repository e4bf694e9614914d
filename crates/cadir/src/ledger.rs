//! The ledger: what a certificate authority did, one line each, only ever added to.
//!
//! Columns stand between tabs; the last is a checksum of the others, so that a line is whole or refused.

use std::fmt::Write as _;
use std::str::FromStr;

use certus_pki::{Reason, Serial, Sha256, UnixTime};

use crate::layout::{Layout, Role};

/// The first column of the first line, and the format's version.
const MAGIC: &str = "certus-ca";
const VERSION: &str = "1";
/// Digits of the SHA-256 that end a line: a torn line passes once in four thousand million.
const CHECK_DIGITS: usize = 8;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The first line: when the ledger was begun, and which file names the directory goes by.
    Begun {
        /// When.
        at: UnixTime,
        /// The file names.
        layout: Layout,
    },
    /// A CA certificate: a root, an issuer, a bridge between two roots.
    Authority(Issued),
    /// A certificate that is no CA's.
    Leaf(Issued),
    /// A revocation.
    Revoked(Revoked),
    /// A revocation list; its number never comes again.
    List {
        /// When.
        at: UnixTime,
        /// Whose list: SHA-256 of the issuer's key.
        issuer: Sha256,
        /// Its number (RFC 5280 5.2.3).
        number: u64,
        /// When the next is due.
        next_update: UnixTime,
    },
    /// A step of a change of the root.
    Rotation {
        /// When.
        at: UnixTime,
        /// Which step was done.
        phase: Phase,
    },
}

/// An issued certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// When it was issued.
    pub at: UnixTime,
    /// Its serial number.
    pub serial: Serial,
    /// SHA-256 of the key that signed it.
    pub issuer: Sha256,
    /// What it is for.
    pub role: Role,
    /// Its last moment.
    pub not_after: UnixTime,
    /// The subject's common name.
    pub name: String,
    /// Its names: `dns:…`, `ip:…`, `email:…`, `uri:…`.
    pub names: Vec<String>,
    /// Its file, relative to the directory where it lies in it; empty where it went to standard output.
    pub file: String,
}

/// A revoked certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: UnixTime,
    /// Its serial number.
    pub serial: Serial,
    /// SHA-256 of the key that signed it.
    pub issuer: Sha256,
    /// Why.
    pub reason: Reason,
    /// When it ends by itself.
    pub not_after: UnixTime,
}

/// The steps of a change of the root, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The next root is made and cross-signed; peers are told to trust both.
    Prepared,
    /// The next root signs.
    Activated,
    /// The old root is no longer in the bundle.
    Finished,
}

impl Phase {
    const ALL: [Phase; 3] = [Phase::Prepared, Phase::Activated, Phase::Finished];

    /// The step as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Prepared => "prepared",
            Phase::Activated => "activated",
            Phase::Finished => "finished",
        }
    }
}

impl Record {
    /// The line, with its end.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        match self {
            Record::Begun { at, layout } => {
                let columns = [MAGIC, VERSION, &at.to_string(), layout.as_str()];
                line.push_str(&columns.join("\t"));
            }
            Record::Authority(issued) => issued.write("ca", &mut line),
            Record::Leaf(issued) => issued.write("cert", &mut line),
            Record::Revoked(revoked) => {
                let Revoked { at, serial, issuer, reason, not_after } = revoked;
                let _ = write!(line, "revoked\t{at}\t{serial}\t{issuer}\t{reason}\t{not_after}");
            }
            Record::List { at, issuer, number, next_update } => {
                let _ = write!(line, "crl\t{at}\t{issuer}\t{number}\t{next_update}");
            }
            Record::Rotation { at, phase } => {
                let _ = write!(line, "rotation\t{at}\t{}", phase.as_str());
            }
        }
        let check = check(&line);
        let _ = writeln!(line, "\t{check}");
        line
    }

    /// The record in a line without its end.
    pub(crate) fn parse(line: &str) -> Result<Record, BadLine> {
        let (body, came) = line.rsplit_once('\t').ok_or(BadLine::Damaged("it has no columns"))?;
        let columns: Vec<&str> = body.split('\t').collect();
        if let [MAGIC, version, ..] = columns[..]
            && version != VERSION
        {
            return Err(BadLine::Newer(version.to_owned()));
        }
        if check(body) != came {
            return Err(BadLine::Damaged("it does not fit its checksum"));
        }
        read(&columns).ok_or(BadLine::Damaged("a column is not what it should be"))
    }
}

impl Issued {
    fn write(&self, kind: &str, line: &mut String) {
        let Issued { at, serial, issuer, role, not_after, name, names, file } = self;
        let names: Vec<String> = names.iter().map(|name| escaped(name)).collect();
        let (name, names, file) = (escaped(name), names.join(","), escaped(file));
        let role = role.as_str();
        let _ =
            write!(line, "{kind}\t{at}\t{serial}\t{issuer}\t{role}\t{not_after}\t{name}\t{names}\t{file}");
    }

    fn read(columns: &[&str]) -> Option<Issued> {
        let [at, serial, issuer, role, not_after, name, names, file] = *columns else { return None };
        let names = names.split(',').filter(|name| !name.is_empty()).map(unescaped);
        Some(Issued {
            at: time(at)?,
            serial: serial.parse().ok()?,
            issuer: issuer.parse().ok()?,
            role: role.parse().ok()?,
            not_after: time(not_after)?,
            name: unescaped(name)?,
            names: names.collect::<Option<Vec<_>>>()?,
            file: unescaped(file)?,
        })
    }
}

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    Newer(String),
    Damaged(&'static str),
}

/// Every record of a ledger's text; a last line that has no end was never finished and is not read.
pub(crate) fn records(text: &str) -> impl Iterator<Item = (usize, Result<Record, BadLine>)> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.split('\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines.map(|(index, line)| (index + 1, Record::parse(line)))
}

fn read(columns: &[&str]) -> Option<Record> {
    match *columns {
        [MAGIC, _, at, layout] => Some(Record::Begun { at: time(at)?, layout: layout.parse().ok()? }),
        ["ca", ref rest @ ..] => Issued::read(rest).map(Record::Authority),
        ["cert", ref rest @ ..] => Issued::read(rest).map(Record::Leaf),
        ["revoked", at, serial, issuer, reason, not_after] => Some(Record::Revoked(Revoked {
            at: time(at)?,
            serial: serial.parse().ok()?,
            issuer: issuer.parse().ok()?,
            reason: Reason::from_str(reason).ok()?,
            not_after: time(not_after)?,
        })),
        ["crl", at, issuer, number, next_update] => Some(Record::List {
            at: time(at)?,
            issuer: issuer.parse().ok()?,
            number: number.parse().ok()?,
            next_update: time(next_update)?,
        }),
        ["rotation", at, phase] => {
            let phase = Phase::ALL.into_iter().find(|known| known.as_str() == phase)?;
            Some(Record::Rotation { at: time(at)?, phase })
        }
        _ => None,
    }
}

fn check(body: &str) -> String {
    let mut digits = Sha256::of(body.as_bytes()).to_string();
    digits.truncate(CHECK_DIGITS);
    digits
}

/// Text without tabs, line ends or commas, so that it fits a column and a list.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || matches!(c, '%' | ',') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(safe, "%{byte:02x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

pub(crate) fn unescaped(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A time as [`UnixTime`] prints it, `2026-11-22T14:03:10Z`; nothing else.
fn time(text: &str) -> Option<UnixTime> {
    // The last days of 9999, which mean "no end" (RFC 5280 4.1.2.5), have no date there.
    if let Some(secs) = text.strip_suffix("s after 1970") {
        return secs.parse().ok().map(UnixTime::from_secs);
    }
    let bytes = text.as_bytes();
    let shape = bytes.len() == 20
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')]
            .iter()
            .all(|(at, sign)| bytes[*at] == *sign);
    if !shape {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range]
            .iter()
            .try_fold(0i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let sane =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    sane.then(|| UnixTime::from_secs(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second))
}

/// Days from 1970-01-01, by counting years from March, so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued() -> Issued {
        Issued {
            at: UnixTime::from_secs(1_800_000_000),
            serial: Serial::from_random([7; 16]),
            issuer: Sha256::of(b"issuer"),
            role: Role::Server,
            not_after: UnixTime::from_secs(4_102_444_800),
            name: "Ünï, a\tb 100%\n".into(),
            names: vec!["dns:a.b".into(), "uri:x,y".into()],
            file: "host-a/server.crt".into(),
        }
    }

    fn all() -> Vec<Record> {
        let at = UnixTime::from_secs(951_782_400);
        let (serial, issuer) = (Serial::from_random([9; 16]), Sha256::of(b"x"));
        vec![
            Record::Begun { at, layout: Layout::Fleet },
            Record::Authority(issued()),
            Record::Leaf(Issued { names: Vec::new(), file: String::new(), ..issued() }),
            Record::Revoked(Revoked { at, serial, issuer, reason: Reason::KeyCompromise, not_after: at }),
            Record::List { at, issuer, number: 3, next_update: at },
            Record::Rotation { at, phase: Phase::Activated },
        ]
    }

    #[test]
    fn every_record_comes_back() {
        for record in all() {
            let line = record.line();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(Record::parse(line.trim_end_matches('\n')), Ok(record));
        }
    }

    #[test]
    fn a_line_that_was_cut_or_changed_is_refused() {
        for record in all() {
            let line = record.line();
            let line = line.trim_end_matches('\n');
            for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
                assert!(Record::parse(&line[..end]).is_err(), "{}", &line[..end]);
            }
            assert!(Record::parse(&line.replacen("20", "19", 1)).is_err(), "{line}");
        }
        let newer = "certus-ca\t2\tand something else";
        assert_eq!(Record::parse(newer), Err(BadLine::Newer("2".into())));
    }

    #[test]
    fn what_has_no_end_was_never_written() {
        let lines: String = all().iter().map(Record::line).collect();
        let text = format!("{lines}cert\t2026");
        assert_eq!(records(&text).filter(|(_, record)| record.is_ok()).count(), all().len());
        assert!(records(&format!("x\n{lines}")).next().is_some_and(|(line, bad)| line == 1 && bad.is_err()));
    }

    #[test]
    fn times_are_those_that_are_printed() {
        for secs in
            [0, 951_782_400, 951_868_799, 1_709_164_800, 1_800_000_000, 4_102_444_799, 253_402_300_799]
        {
            let at = UnixTime::from_secs(secs);
            assert_eq!(time(&at.to_string()), Some(at), "{at}");
        }
        for text in ["", "2026-11-22", "2026-11-22T14:03:10+", "2026-13-22T14:03:10Z", "２026-11-22T14:03:1"]
        {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
