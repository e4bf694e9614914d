//! Nodes that join and renew, an operator, and the command line: callers that try a call that failed
//! once more, and take down what they were answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use certus_node::api::join_any;
use certus_node::{Api, ApiError, system_clock};
use certus_pki::{Bundle, Certificate, Csr, Explain, JoinToken, KeyType, PrivateKey, Role, Serial, code};
use certus_testkit::cluster::Operator;
use certus_wire::v1;

use crate::stage::Group;
use crate::witness::{Answer, Witness};

/// Tasks that join new nodes.
const JOINING: usize = 2;
/// Nodes that renew on and on.
const RENEWING: usize = 3;
/// Between two calls of one caller: the load is to be there all the time, not to fill the machine.
const PACE: Duration = Duration::from_millis(150);
/// A one-address allowance of calls without a certificate is 20 a second, and a join makes two.
const JOIN_PACE: Duration = Duration::from_millis(400);
/// Nodes that were joined and wait to be renewed or revoked.
const NODES_KEPT: usize = 6;

/// Loads of one process, so that each names its nodes otherwise.
static LOADS: AtomicUsize = AtomicUsize::new(0);

/// A node as its own files would have it.
pub(crate) struct Member {
    pub(crate) id: String,
    key: PrivateKey,
    chain: Vec<Vec<u8>>,
    bundle: Bundle,
    /// The key of a renewal whose answer did not come.
    pending: Option<PrivateKey>,
}

/// Calls until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    witness: Arc<Mutex<Witness>>,
    members: Arc<Mutex<VecDeque<Member>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What every caller of the load has.
#[derive(Clone)]
struct Caller {
    stop: Arc<AtomicBool>,
    witness: Arc<Mutex<Witness>>,
    members: Arc<Mutex<VecDeque<Member>>>,
    addresses: Arc<Vec<String>>,
    /// Of the names of the nodes that it makes.
    load: usize,
}

impl Load {
    /// Starts calling the managers that `group` has now, all of them.
    pub(crate) fn start(group: &Group) -> Load {
        let caller = Caller {
            stop: Arc::default(),
            witness: Arc::default(),
            members: Arc::default(),
            addresses: Arc::new(group.every_address()),
            load: LOADS.fetch_add(1, Ordering::Relaxed),
        };
        let mut threads = Vec::new();
        for number in 0..JOINING {
            let (caller, operator) = (caller.clone(), operator(group, &group.every_address()));
            threads.push(on_its_own(async move || caller.join_on(number, &operator).await));
        }
        for number in 0..RENEWING {
            let caller = caller.clone();
            threads.push(on_its_own(async move || caller.renew_on(number).await));
        }
        let (operating, operator) = (caller.clone(), operator(group, &group.every_address()));
        threads.push(on_its_own(async move || operating.operate(&operator).await));
        let Caller { stop, witness, members, .. } = caller;
        let load = Load { stop, witness, members, threads };
        load.some("the load began", Instant::now(), 5);
        load
    }

    /// Waits for `count` answers to calls that were made after `since`; returns when the first one came.
    #[track_caller]
    pub(crate) fn some(&self, what: &str, since: Instant, count: usize) -> Duration {
        let answers = || self.witness.lock().unwrap().answers_since(since);
        crate::harness::until(
            what,
            || answers().len() >= count,
            || format!("{}", self.witness.lock().unwrap()),
        );
        answers().into_iter().min().unwrap()
    }

    /// Ends the load; returns what it was answered, and the nodes it made.
    #[track_caller]
    pub(crate) fn stop(mut self) -> (Witness, Vec<Member>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let witness = std::mem::take(&mut *self.witness.lock().unwrap());
        let members = std::mem::take(&mut *self.members.lock().unwrap());
        println!("{witness}");
        (witness, members.into())
    }
}

/// A test that failed leaves the machine to the next one.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The operator of `group` as a library client of `addresses`.
pub(crate) fn operator(group: &Group, addresses: &[String]) -> Operator {
    let stored = group.operator().load().unwrap().unwrap();
    let operator = Operator::new(&stored.key, stored.chain, stored.bundle, addresses[0].parse().unwrap());
    operator.api().learn(addresses);
    operator
}

/// A caller with a thread and a runtime to itself.
fn on_its_own(calls: impl AsyncFnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(calls());
    })
}

/// Makes a call, and once more if it failed.
async fn retried<T, E>(mut call: impl AsyncFnMut() -> Result<T, E>) -> (Result<T, E>, bool) {
    match call().await {
        Ok(answer) => (Ok(answer), false),
        Err(_) => (call().await, true),
    }
}

impl Caller {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, begun: Instant, what: Answer) {
        self.witness.lock().unwrap().note(begun, what);
    }

    /// The managers' addresses, each call beginning at another.
    fn from(&self, number: usize) -> Vec<String> {
        let mut addresses = (*self.addresses).clone();
        let first = number % addresses.len();
        addresses.rotate_left(first);
        addresses
    }

    fn failed(&self, what: &str, why: &impl Explain) {
        let words = format!("{what}: {}", why.explain());
        self.witness.lock().unwrap().failed_twice.push(words);
    }

    async fn join_on(self, number: usize, operator: &Operator) {
        let mut count = number;
        while self.goes_on() {
            tokio::time::sleep(JOIN_PACE).await;
            count += JOINING;
            let Some(token) = self.token(operator).await else { continue };
            let id = format!("n{}-{count}", self.load);
            let (key, addresses) = (PrivateKey::generate(KeyType::P256).unwrap(), self.from(count));
            let (node, clock) = (id.parse().unwrap(), system_clock());
            let begun = Instant::now();
            let join = async || join_any(&addresses, &token, Role::Worker, &node, &key, &clock).await;
            match retried(join).await {
                (Ok((_, joined)), again) => {
                    let serial = serial_of(&joined.chain);
                    self.note(begun, Answer::Joined { serial, token: token.id(), again });
                    let member =
                        Member { id, key, chain: joined.chain, bundle: joined.bundle, pending: None };
                    self.members.lock().unwrap().push_back(member);
                }
                (Err(Some(error)), _) => self.failed("join", &error),
                (Err(None), _) => unreachable!("there are addresses"),
            }
        }
    }

    async fn renew_on(self, number: usize) {
        let mut count = number;
        while self.goes_on() {
            tokio::time::sleep(PACE).await;
            count += 1;
            let member = self.members.lock().unwrap().pop_front();
            let Some(mut member) = member else { continue };
            let begun = Instant::now();
            let addresses = self.from(count);
            let (renewed, again) = retried(async || member.renew(&addresses).await).await;
            match renewed {
                Ok(serial) => self.note(begun, Answer::Renewed { serial, again }),
                Err(error) => self.failed("renewal", &error),
            }
            self.members.lock().unwrap().push_back(member);
        }
    }

    /// Tokens that are made and taken back, and nodes that are revoked.
    async fn operate(self, operator: &Operator) {
        while self.goes_on() {
            tokio::time::sleep(PACE * 2).await;
            let Some(token) = self.token(operator).await else { continue };
            let begun = Instant::now();
            let request = v1::RevokeTokenRequest { id: token.id().as_bytes().to_vec() };
            let revoke = async || {
                let request = request.clone();
                operator.api().cluster(async |mut c| c.revoke_token(request).await).await
            };
            match retried(revoke).await {
                (Ok(_), _) => self.note(begun, Answer::TokenRevoked(token.id())),
                (Err(error), again) if done_before(&error, again, code::TOKEN_REVOKED) => {
                    self.note(begun, Answer::TokenRevoked(token.id()));
                }
                (Err(error), _) => self.failed("token revoke", &error),
            }
            let many = self.members.lock().unwrap().len() > NODES_KEPT;
            let member = self.members.lock().unwrap().pop_front().filter(|_| many);
            let Some(member) = member else { continue };
            self.revoke(operator, member).await;
        }
    }

    async fn revoke(&self, operator: &Operator, member: Member) {
        let begun = Instant::now();
        let request = v1::RevokeRequest { name: member.id.clone(), reason: 0 };
        let revoke = async || {
            let request = request.clone();
            operator.api().cluster(async |mut c| c.revoke(request).await).await
        };
        match retried(revoke).await {
            (Ok(_), _) => self.note(begun, Answer::Revoked(member.id)),
            (Err(error), again) if done_before(&error, again, code::ALREADY_REVOKED) => {
                self.note(begun, Answer::Revoked(member.id));
            }
            (Err(error), _) => self.failed("revoke", &error),
        }
    }

    async fn token(&self, operator: &Operator) -> Option<JoinToken> {
        let begun = Instant::now();
        let role = "worker".to_owned();
        let request = v1::CreateTokenRequest { role, ttl_secs: 3600, uses: 1, ..Default::default() };
        let create = async || {
            let request = request.clone();
            operator.api().cluster(async |mut c| c.create_token(request).await).await
        };
        match retried(create).await {
            (Ok(reply), _) => {
                let token: JoinToken = reply.token.parse().unwrap();
                self.note(begun, Answer::Token(token.id()));
                Some(token)
            }
            (Err(error), _) => {
                self.failed("token create", &error);
                None
            }
        }
    }
}

/// The first attempt did it, and its answer was lost.
fn done_before(error: &ApiError, again: bool, already: certus_pki::Code) -> bool {
    error.may_be_done() || (again && error.explain().code == already)
}

impl Member {
    /// Renews with a fresh key, or with the one whose answer was lost.
    pub(crate) async fn renew(&mut self, addresses: &[String]) -> Result<Serial, ApiError> {
        let first = addresses[0].parse().unwrap();
        let caller = Operator::new(&self.key, self.chain.clone(), self.bundle.clone(), first);
        let api: &Api = caller.api();
        api.learn(addresses);
        let key = self.pending.take();
        let key = key.unwrap_or_else(|| PrivateKey::generate(KeyType::P256).unwrap());
        let csr = Csr::make(&key, &self.id).unwrap();
        match api.node(async |mut c| c.renew(v1::RenewRequest { csr }).await).await {
            Ok(credentials) => {
                self.chain = credentials.chain;
                self.key = key;
                Ok(serial_of(&self.chain))
            }
            Err(error) => {
                self.pending = Some(key);
                Err(error)
            }
        }
    }
}

fn serial_of(chain: &[Vec<u8>]) -> Serial {
    Certificate::from_der(&chain[0]).unwrap().serial
}

/// A user at the command line, who tries a command that failed once more; with a worker that is told to
/// renew, again and again.
pub(crate) struct Hands {
    stop: Arc<AtomicBool>,
    failed: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its commands run in the test's directory.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Hands {
    /// `commands` one after the other, prepared in a world that outlives this.
    pub(crate) fn start(group: &Group, worker: &str) -> Hands {
        let stop: Arc<AtomicBool> = Arc::default();
        let commands: Vec<Vec<String>> = [
            &["cluster", "status"][..],
            &["cert", "rotate", "--node", worker],
            &["token", "create", "--role", "worker"],
            &["node", "list"],
        ]
        .iter()
        .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
        .collect();
        let prepared = |words: &[String]| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            group.world.command(&words)
        };
        let mut prepared: Vec<_> = commands.iter().map(|words| prepared(words)).collect();
        let failed: Arc<Mutex<Vec<String>>> = Arc::default();
        let (ending, failing) = (stop.clone(), failed.clone());
        let thread = std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                for command in &mut prepared {
                    let first = command.output().unwrap();
                    if !first.status.success() {
                        let second = command.output().unwrap();
                        if !second.status.success() {
                            let words = String::from_utf8_lossy(&second.stderr);
                            failing.lock().unwrap().push(format!("{:?}: {words}", command.get_args()));
                        }
                    }
                    std::thread::sleep(PACE * 2);
                }
            }
        });
        Hands { stop, failed, thread: Some(thread) }
    }

    /// What failed, and failed again.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.failed.lock().unwrap())
    }

    /// What has failed twice so far.
    pub(crate) fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }
}
