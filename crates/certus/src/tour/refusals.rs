//! Scenes of callers that are refused, and of a manager that is none.

use std::net::Ipv4Addr;

use certus_node::{Api, JoinError, join, system_clock};
use certus_pki::{
    Accept, Allow, CaPlan, ClusterName, Explain, Explanation, Issuer, KeyType, LeafPlan, Lifetime,
    PrivateKey, Rejection, Role, Serial, Sha256, Signer, Validity, code,
};
use certus_tls::{ClientCertificate, Identity, Server, ServerOptions};
use certus_wire::v1;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::not_observed;
use super::story::{Story, credentials, to_web_1};
use crate::dev::stage::{CLUSTER, WEB_1, WEB_2, parsed, worker};

/// The certificates of the other CA live for one scene.
const SCENE: Lifetime = Lifetime::from_hours(1);

/// A caller that shows no certificate.
pub(super) async fn no_certificate(story: &Story) -> Result<String, Explanation> {
    let client = to_web_1(credentials(None, story.bundle().await?))?;
    story.refusal(&client, "certificate_required", Rejection::NoCertificate.label()).await?;
    let told = Rejection::NoCertificate.explain();
    Ok(format!("{} {}", told.code, told.message))
}

/// A caller that names itself web-2, signed by a CA of its own.
pub(super) async fn another_ca(story: &Story) -> Result<String, Explanation> {
    let (identity, root) = foreign_web_2()?;
    let client = to_web_1(credentials(Some(identity), story.bundle().await?))?;
    story.refusal(&client, "unknown_ca", "unknown_authority").await?;
    let expected = story.stage.root.key_hash().short();
    Ok(format!("{} unknown authority {}, expected {expected}", code::UNKNOWN_AUTHORITY, root.short()))
}

/// web-2's identity under a root that was made just now, and that root's key.
fn foreign_web_2() -> Result<(Identity, Sha256), Explanation> {
    let cluster: ClusterName = parsed(CLUSTER)?;
    let validity = Validity::starting(system_clock()(), SCENE);
    let key = || PrivateKey::generate(KeyType::P256).map_err(|error| error.explain());
    let (root_key, issuer_key, leaf_key) = (key()?, key()?, key()?);
    let told = |error: certus_pki::issue::NotIssued| error.explain();
    let root = Issuer::self_signed(&CaPlan::root(&cluster, validity), serial(&root_key), &root_key);
    let root = root.map_err(told)?;
    let plan = CaPlan::issuer(&cluster, "issuer other", validity);
    let issuer =
        root.sign_ca(&plan, issuer_key.public_key(), serial(&issuer_key), &root_key).map_err(told)?;
    let plan = LeafPlan {
        identity: worker(WEB_2)?,
        public_key: leaf_key.public_key().clone(),
        sans: Vec::new(),
        validity,
    };
    let leaf = issuer.sign_leaf(&plan, serial(&leaf_key), &issuer_key).map_err(told)?;
    let chain = vec![leaf, issuer.certificate().der.clone(), root.certificate().der.clone()];
    let identity = Identity::new(&leaf_key, chain).map_err(|error| error.explain())?;
    Ok((identity, root.key_hash()))
}

/// Keys here are fresh, so a part of their hash is as random as a serial must be.
fn serial(key: &PrivateKey) -> Serial {
    let mut random = [0; 16];
    random.copy_from_slice(&key.public_key().hash().as_bytes()[..16]);
    Serial::from_random(random)
}

/// web-1 listens where a manager should: neither a joiner nor an operator tells it anything.
pub(super) async fn posing_as_manager(story: &Story) -> Result<String, Explanation> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let cannot = |error| not_observed("cannot listen on loopback", "a port", error);
    let listener = listener.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?.to_string();
    let impostor = impostor(story, listener).await?;

    let token = story.stage.token("web-3").await?;
    let key = PrivateKey::generate(KeyType::P256).map_err(|error| error.explain())?;
    let id = parsed("web-3")?;
    let joined = join(&address, &token, Role::Worker, &id, &key, &system_clock()).await;
    let told = joined.as_ref().err().map(JoinError::explain);
    let Some(told) = told.filter(|told| told.code == code::NOT_A_MANAGER) else {
        let came = joined.map_or_else(|error| error.explain().to_string(), |_| "it joined".to_owned());
        return Err(not_observed("the joiner did not refuse it by role", code::NOT_A_MANAGER, came));
    };

    let stored = story.stage.home.require_identity()?;
    let operator = Identity::new(&stored.key, stored.chain).map_err(|error| error.explain())?;
    let api = Api::new(vec![address], credentials(Some(operator), story.bundle().await?));
    let called = api.cluster(async |mut c| c.status(v1::StatusRequest {}).await).await;
    let refused = called.as_ref().err().map(|error| error.explain().code);
    if refused != Some(code::NOT_ALLOWED) && refused != Some(code::NOT_A_MANAGER) {
        let came = refused.map_or_else(|| "an answer".to_owned(), |code| code.to_string());
        return Err(not_observed("the operator did not refuse it by role", code::NOT_ALLOWED, came));
    }
    drop(api);
    let heard = impostor.await.unwrap_or(usize::MAX);
    if heard > 0 {
        return Err(not_observed("something was said to it", "nothing", format!("{heard} bytes")));
    }
    Ok(format!(
        "{} is {}, expected spiffe://{CLUSTER}/manager/*; nothing was sent",
        told.code,
        worker(WEB_1)?
    ))
}

/// web-1's certificate behind a listener that behaves as a manager's: counts the bytes that two
/// callers send it.
async fn impostor(story: &Story, listener: TcpListener) -> Result<JoinHandle<usize>, Explanation> {
    let mut options = ServerOptions::new(Accept::new(Allow::Anyone));
    options.client_certificate = ClientCertificate::Optional;
    options.alpn = vec![b"h2".to_vec()];
    options.send_roots = true;
    let server = Server::new(story.posing_as(WEB_1).await?, options);
    Ok(tokio::spawn(async move {
        let mut heard = 0;
        for _caller in 0..2 {
            let Ok((tcp, _)) = listener.accept().await else { continue };
            if let Ok(mut tls) = server.accept(tcp).await {
                let mut said = Vec::new();
                let _ = tls.read_to_end(&mut said).await;
                heard += said.len();
            }
        }
        heard
    }))
}
