//! Every kind of value round-trips, no bytes make it panic, and what the first release wrote is read.

pub(crate) mod examples;
mod generation;
mod roots;

use certus_pki::{Delta, Lifetime, San, Sha256, UnixTime, code};
use proptest::prelude::*;

use super::*;
use crate::command::{CreateToken, JoinAsk, Target};
use crate::limits::{BYTES_MAX, ITEMS_MAX};
use crate::record::Event;
use crate::store::MemStore;
use crate::tests::{id, operator, worker};
use crate::{apply, state_hash};
use examples::{
    AT, cert_record, commands, delta, digest, events, manager_record, node_record, refusals, replies, sans,
    token_record,
};

const DOCUMENTS: &str = include_str!("../../tests/golden/documents.hex");
const LOG: &str = include_str!("../../tests/golden/log.hex");

/// Every kind of document, an example of every variant, and what its bytes read as.
fn documents() -> Vec<(String, Vec<u8>)> {
    fn checked<T: Document + PartialEq + std::fmt::Debug>(name: &str, value: &T) -> (String, Vec<u8>) {
        let bytes = value.encode();
        assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
        (name.to_owned(), bytes)
    }
    fn each<T: Document + PartialEq + std::fmt::Debug>(name: &str, values: &[T]) -> Vec<(String, Vec<u8>)> {
        let named = values.iter().enumerate();
        named.map(|(place, value)| checked(&format!("{name}-{}", place + 1), value)).collect()
    }
    let audit = |(number, event): (usize, Event)| AuditRecord {
        number: number as u64,
        at: AT,
        previous: digest(8),
        by: (number > 0).then(operator),
        event,
        refused: (number == 1).then_some(code::OUT_OF_BOUNDS),
    };
    let audits: Vec<AuditRecord> = events().into_iter().enumerate().map(audit).collect();
    let issuer = IssuerRecord {
        key_hash: digest(3),
        der: b"issuer".to_vec(),
        subject_der: b"subject".to_vec(),
        not_after: AT,
        active: true,
        added_at: AT,
    };
    let root = RootRecord {
        key_hash: digest(2),
        der: b"root".to_vec(),
        not_after: AT,
        active: true,
        key_sealed: b"sealed".to_vec(),
    };
    let mut all: Vec<_> = commands().iter().map(|(name, command)| checked(name, command)).collect();
    all.extend(each("reply", &replies()));
    all.extend(each("refusal", &refusals()));
    all.push(checked("outcome-yes", &Ok::<Reply, Refusal>(Reply::Directed { revision: 1 })));
    all.push(checked("outcome-no", &Err::<Reply, Refusal>(Refusal::NotFounded)));
    all.push(checked("node", &node_record()));
    all.push(checked("certificate", &cert_record()));
    all.push(checked("token", &token_record()));
    all.push(checked("issuer", &issuer));
    all.push(checked("root", &root));
    all.extend(each("audit", &audits));
    all.push(checked("delta", &delta()));
    all.push(checked("manager", &manager_record()));
    all
}

#[test]
fn todays_bytes_are_those_of_the_first_release() {
    let today: String = documents().iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    assert!(today == DOCUMENTS, "documents.hex would now be:\n{today}");
}

#[test]
fn the_log_of_the_first_release_leads_to_the_same_state() {
    let mut store = MemStore::default();
    let mut answers = 0;
    for line in LOG.lines() {
        match line.split_once(' ').unwrap() {
            ("state", hash) => assert_eq!(state_hash(&store).unwrap().to_string(), hash),
            (at, command) => {
                let command = decode_command(&unhex(command)).unwrap();
                let at = UnixTime::from_secs(at.parse().unwrap());
                answers += usize::from(apply(&mut store, at, &command).unwrap().is_ok());
            }
        }
    }
    assert_eq!(answers, 7);
}

/// How `log.hex` was made: a short life with one of everything.
#[test]
fn a_log_like_the_golden_one_can_be_made() {
    use crate::tests::{World, key};
    let mut world = World::founded();
    let held = world.worker(1, "web-1");
    world.renew(&held.identity, held.cert, &key()).unwrap();
    world.direct(&held.identity).unwrap();
    world.add_issuer(Lifetime::from_days(300)).unwrap();
    world.revoke(Target::Node(held.identity.clone())).unwrap();
    world.revoke(Target::Node(held.identity)).unwrap_err();
    let mut lines: Vec<String> = Vec::new();
    for (at, command) in &world.log {
        lines.push(format!("{} {}", at.secs(), hex(&encode_command(command))));
    }
    lines.push(format!("state {}", state_hash(&world.store).unwrap()));
    assert_eq!(lines.len(), LOG.lines().count(), "log.hex could be:\n{}", lines.join("\n"));
}

#[test]
fn bytes_of_another_kind_or_version_are_refused() {
    let bytes = encode_refusal(&Refusal::NotFounded);
    assert_eq!(decode_reply(&bytes), Err(Malformed::Kind { expected: 2, came: 3 }));
    let newer = [&bytes[..1], &[2], &bytes[2..]].concat();
    assert_eq!(decode_refusal(&newer), Err(Malformed::Version { kind: 3, expected: 1, came: 2 }));
    assert_eq!(decode_refusal(&[&bytes[..], &[0]].concat()), Err(Malformed::Long { bytes: 1 }));
    assert_eq!(decode_refusal(&bytes[..2]), Err(Malformed::Short { what: "refusal" }));
    let unknown = [&bytes[..2], &[200]].concat();
    assert_eq!(decode_refusal(&unknown), Err(Malformed::Choice { what: "refusal", came: 200 }));
}

#[test]
fn i6_lengths_are_bounded_before_anything_is_allocated() {
    let endless = [&[3u8, 1, 22][..], &[0xff; 4]].concat();
    let refused = decode_refusal(&endless);
    assert_eq!(refused, Err(Malformed::TooLong { what: "text", max: BYTES_MAX, came: 0xffff_ffff }));
}

#[test]
fn what_no_replica_could_read_is_not_carried() {
    let (_, command) = commands().remove(1);
    assert_eq!(carry_command(&command).unwrap(), encode_command(&command));
    let Command::CreateToken(create) = command else { panic!() };
    let many = CreateToken { sans: vec![sans().remove(0); ITEMS_MAX + 1], ..create.clone() };
    let ill = CreateToken { sans: vec![San::Dns("not a name".into())], ..create };
    for wrong in [many, ill] {
        let refusal = carry_command(&Command::CreateToken(wrong)).unwrap_err();
        assert!(matches!(refusal, Refusal::OutOfBounds { .. }));
    }
}

/// Reading `bytes` as every kind; what can be read says the same again.
fn read_as_everything(bytes: &[u8]) {
    fn once<T: Document + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(value) = T::decode(bytes) {
            assert_eq!(T::decode(&value.encode()), Ok(value));
        }
    }
    once::<Command>(bytes);
    once::<Reply>(bytes);
    once::<Refusal>(bytes);
    once::<Result<Reply, Refusal>>(bytes);
    once::<NodeRecord>(bytes);
    once::<CertRecord>(bytes);
    once::<TokenRecord>(bytes);
    once::<IssuerRecord>(bytes);
    once::<RootRecord>(bytes);
    once::<AuditRecord>(bytes);
    once::<Delta>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..0x20u8) {
        read_as_everything(&bytes);
        read_as_everything(&[&[kind, 1], &bytes[..]].concat());
    }

    #[test]
    fn altered_documents_are_refused_or_say_the_same_again(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let documents = documents();
        let mut bytes = which.get(&documents).1.clone();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_as_everything(&bytes);
    }

    #[test]
    fn commands_round_trip(
        name in "[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?",
        secs in any::<i64>(),
        numbers in any::<(u32, u32, bool)>(),
        digest in any::<[u8; 32]>(),
        der in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (uses, ttl, replace) = numbers;
        for (_, command) in commands() {
            let command = match command {
                Command::CreateToken(create) => Command::CreateToken(CreateToken {
                    secret_hash: Sha256::from_bytes(digest),
                    id: replace.then(|| id(&name)),
                    ttl: Lifetime::from_secs(ttl),
                    uses,
                    replace,
                    ..create
                }),
                Command::Admit { ask, .. } => {
                    let planned_at = UnixTime::from_secs(secs);
                    Command::Admit { ask: JoinAsk { id: id(&name), ..ask }, planned_at, der: der.clone() }
                }
                Command::Direct { directive, by, .. } => {
                    Command::Direct { node: worker(&name), directive, by }
                }
                other => other,
            };
            prop_assert_eq!(decode_command(&encode_command(&command)), Ok(command));
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
