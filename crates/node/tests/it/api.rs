//! Joining and calling: to managers only, with errors that say why.

use std::sync::Arc;

use certus_node::{Api, ApiError, JoinError, Joined, join};
use certus_pki::{Code, Explain, Explanation, JoinToken, PrivateKey, Role, Signer, code};
use certus_tls::{Identity, Publisher, Snapshot};
use certus_wire::v1;

use crate::authority::{Authority, key};
use crate::manager::Manager;
use crate::soon;

async fn join_with(manager: &Manager, token: &JoinToken, key: &PrivateKey) -> Result<Joined, JoinError> {
    let (id, clock) = ("web-1".parse().unwrap(), manager.state.authority.clock());
    let address = manager.address.to_string();
    soon("a join", join(&address, token, Role::Worker, &id, key, &clock)).await
}

#[tokio::test]
async fn a_token_admits_a_node() {
    let authority = Arc::new(Authority::new("prod"));
    let manager = Manager::start(&authority);
    let key = key();
    let joined = join_with(&manager, &manager.token(), &key).await.unwrap();
    assert_eq!(joined.identity, authority.id("worker/web-1"));
    assert_eq!(joined.bundle, authority.bundle());
    Identity::new(&key, joined.chain).unwrap();
    assert_eq!(manager.seen(|seen| (seen.infos, seen.joins.len())), (1, 1));
}

#[tokio::test]
async fn i13_a_token_is_sent_to_a_manager_only() {
    let authority = Arc::new(Authority::new("prod"));
    let other = Arc::new(Authority::new("prod"));
    let token = JoinToken::new([7; 16], &authority.root.key_hash());
    // A foreign leaf with our root appended: the root is public, whoever has it proves nothing.
    let foreign_key = key();
    let mut chain = other.chain("manager/m1", foreign_key.public_key());
    chain.push(authority.root.certificate().der.clone());
    let identity = Arc::new(Identity::new(&foreign_key, chain).unwrap());
    let snapshot = Snapshot::new(Some(identity), Arc::new(authority.bundle()));
    let appended = Publisher::new(snapshot, authority.clock());

    let cases: [(&str, Publisher, Code); 3] = [
        ("a worker", authority.publisher("worker/web-9"), code::NOT_A_MANAGER),
        ("a manager of another root", other.publisher("manager/m1"), code::WRONG_PIN),
        ("a foreign leaf with our root behind it", appended, code::NOT_A_MANAGER),
    ];
    for (who, publisher, expected) in cases {
        let manager = Manager::posing(&authority, publisher);
        let error = join_with(&manager, &token, &key()).await.unwrap_err();
        assert_eq!(error.explain().code, expected, "{who}: {}", error.explain());
        assert_eq!(manager.seen(|seen| (seen.infos, seen.joins.len())), (0, 0), "{who}");
    }
}

#[tokio::test]
async fn i13_every_later_call_goes_to_a_manager_only() {
    let authority = Arc::new(Authority::new("prod"));
    let caller = authority.publisher("worker/web-1");
    let posing = Manager::posing(&authority, authority.publisher("worker/web-9"));
    let real = Manager::start(&authority);
    let api = Api::new(vec![posing.address.to_string()], caller.credentials());
    let error = soon("a call", renew(&api, &key())).await.unwrap_err();
    let why = error.explain();
    assert_eq!(why.code, code::NOT_ALLOWED, "{why}");
    assert!(why.to_string().contains("spiffe://prod/manager/*"), "{why}");
    assert!(why.to_string().contains("spiffe://prod/worker/web-9"), "{why}");
    // The next address is tried by the same call.
    let both = vec![posing.address.to_string(), real.address.to_string()];
    let api = Api::new(both, caller.credentials());
    soon("a call", renew(&api, &key())).await.unwrap();
    assert_eq!(posing.seen(|seen| seen.renewals.len()), 0);
    assert_eq!(real.seen(|seen| seen.renewals.clone()), [authority.id("worker/web-1")]);
}

async fn renew(api: &Api, key: &PrivateKey) -> Result<v1::Credentials, ApiError> {
    let csr = certus_pki::Csr::make(key, "web-1").unwrap();
    api.node(async |mut node| node.renew(v1::RenewRequest { csr }).await).await
}

#[tokio::test]
async fn i12_a_private_key_is_never_sent() {
    let authority = Arc::new(Authority::new("prod"));
    let manager = Manager::start(&authority);
    let key = key();
    join_with(&manager, &manager.token(), &key).await.unwrap();
    let sent = manager.seen(|seen| seen.joins.remove(0));
    let document = key.to_pkcs8_der().unwrap();
    // PKCS#8 of a P-256 key: the 32 bytes of the secret follow the tag and length 04 20.
    let at = document.windows(2).position(|pair| pair == [0x04, 0x20]).unwrap() + 2;
    let secret = &document[at..at + 32];
    let everything = [sent.csr, sent.secret, sent.id.into_bytes(), sent.role.into_bytes()].concat();
    assert!(!everything.windows(32).any(|window| window == secret));
}

#[tokio::test]
async fn a_refusal_arrives_whole() {
    let authority = Arc::new(Authority::new("prod"));
    let manager = Manager::start(&authority);
    let why = Explanation::new(code::TOKEN_EXPIRED, "the token expired 3 h ago")
        .halves("2026-11-22T14:03:10Z", "2026-11-22T11:00:00Z")
        .hint("certus token create --role worker --id web-1");
    manager.seen(|seen| seen.refuse = Some(why.clone()));
    let error = join_with(&manager, &manager.token(), &key()).await.unwrap_err();
    assert_eq!(error.explain(), why);
    assert!(!error.is_passing());
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_not_believed() {
    let authority = Arc::new(Authority::new("prod"));
    let manager = Manager::start(&authority);
    manager.seen(|seen| seen.wrong_key = true);
    let error = join_with(&manager, &manager.token(), &key()).await.unwrap_err();
    assert!(matches!(error, JoinError::Answer(_)), "{error:?}");
    assert!(error.explain().message.contains("another key"), "{}", error.explain());
}

#[tokio::test]
async fn who_is_not_there_is_named_with_the_reason() {
    let authority = Arc::new(Authority::new("prod"));
    let caller = authority.publisher("worker/web-1");
    let mut manager = Manager::start(&authority);
    manager.kill();
    let address = manager.address.to_string();
    let api = Api::new(vec![address.clone()], caller.credentials());
    let error = soon("a call", renew(&api, &key())).await.unwrap_err();
    let ApiError::Unreachable { tried } = &error else { panic!("{error:?}") };
    assert_eq!(tried[0].address, address);
    assert!(tried[0].why().contains("refused"), "{}", tried[0].why());
    // The same client finds it when it is back.
    manager.restart();
    soon("a call", renew(&api, &key())).await.unwrap();
    let nobody = Api::new(Vec::new(), caller.credentials());
    let why = renew(&nobody, &key()).await.unwrap_err().explain();
    assert_eq!((why.code, why.message.as_str()), (code::UNREACHABLE, "no manager's address is known"));
}

#[tokio::test]
async fn when_one_manager_goes_the_next_is_called() {
    let authority = Arc::new(Authority::new("prod"));
    let caller = authority.publisher("worker/web-1");
    let (mut first, second) = (Manager::start(&authority), Manager::start(&authority));
    let both = vec![first.address.to_string(), second.address.to_string()];
    let api = Api::new(both, caller.credentials());
    soon("a call", renew(&api, &key())).await.unwrap();
    assert_eq!(first.seen(|seen| seen.renewals.len()), 1);
    first.kill();
    soon("a call", renew(&api, &key())).await.unwrap();
    assert!(second.seen(|seen| seen.renewals.len()) >= 1);
}

#[tokio::test]
async fn a_late_refusal_of_our_certificate_is_said() {
    let authority = Arc::new(Authority::new("prod"));
    let manager = Manager::start(&authority);
    let caller = authority.publisher("worker/web-1");
    let leaf = caller.current().identity().unwrap().leaf().clone();
    manager.commit(vec![certus_pki::Change::Revoked(authority.revocation(&leaf))]);
    let api = Api::new(vec![manager.address.to_string()], caller.credentials());
    let error = soon("a call", renew(&api, &key())).await.unwrap_err();
    let why = error.explain();
    assert_eq!(why.code, code::PEER_REJECTED_US, "{why} {error:?}");
    assert!(why.to_string().contains("revoked"), "{why}");
    assert_eq!(manager.seen(|seen| seen.renewals.len()), 0);
}
