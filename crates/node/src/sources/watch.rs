//! The one task that keeps a source's generation: looks when told and when it is time, publishes what is
//! good and different, and keeps the last good one otherwise (I9).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certus_pki::{Code, Explain, Explanation, UnixTime};
use certus_tls::Clock;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::development::Development;
use super::env::EnvSource;
use super::ephemeral::Ephemeral;
use super::error::SourceError;
use super::file::FileSource;
use super::material::Material;
use super::notices::Notices;

/// The clock is looked at this often: a machine that slept, or whose clock was set, is found out.
pub(super) const TICK: Duration = Duration::from_secs(30);
/// Writers of several files are given this long to write the next one.
const QUIET: Duration = Duration::from_millis(50);
/// And this long in all, where something writes on and on.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// The first wait for a pair that does not fit yet; doubled each time.
const SETTLE_FIRST: Duration = Duration::from_millis(50);
/// The longest such wait.
const SETTLE_LONGEST: Duration = Duration::from_secs(1);

/// Something that generations come from. Blocks; the task calls it where that is allowed.
pub(super) trait Origin: Send + Sync + 'static {
    /// The generation there is now, unless it is the current one still.
    fn read(&self, current: Option<&Material>, now: UnixTime) -> Result<Option<Material>, SourceError>;

    /// How it is looked after.
    fn habits(&self) -> Habits;
}

/// How a source is looked after.
pub(super) struct Habits {
    /// Nothing new ever comes.
    pub(super) is_static: bool,
    /// What is put in its place is taken without a restart.
    pub(super) rotates: bool,
    pub(super) poll: Duration,
    pub(super) settle: Duration,
    /// Whose changes the system is asked to tell of.
    pub(super) files: Vec<PathBuf>,
}

/// Where generations come from. No `Debug`: it may hold a secret (I7).
#[non_exhaustive]
pub enum Source {
    /// Files, and texts in their place.
    File(FileSource),
    /// Environment variables.
    Env(EnvSource),
    /// Made at start, in memory.
    Ephemeral(Ephemeral),
    /// Made on first use, in files, with a CA for all nodes of a directory.
    Development(Development),
}

impl From<FileSource> for Source {
    fn from(source: FileSource) -> Source {
        Source::File(source)
    }
}

impl From<EnvSource> for Source {
    fn from(source: EnvSource) -> Source {
        Source::Env(source)
    }
}

impl From<Ephemeral> for Source {
    fn from(source: Ephemeral) -> Source {
        Source::Ephemeral(source)
    }
}

impl From<Development> for Source {
    fn from(source: Development) -> Source {
        Source::Development(source)
    }
}

impl Source {
    /// Reads the first generation, and looks after it from then on. A pair that is being written is waited
    /// for.
    ///
    /// # Errors
    /// The first generation cannot be used. Later ones that cannot are told by [`SourceStatus`].
    pub async fn start(self, clock: Clock) -> Result<Watch, SourceError> {
        let origin: Arc<dyn Origin> = match self {
            Source::File(source) => Arc::new(source),
            Source::Env(source) => Arc::new(source),
            Source::Ephemeral(source) => Arc::new(source),
            Source::Development(source) => {
                source.warn();
                Arc::new(source)
            }
        };
        start(origin, clock).await
    }
}

/// How a source is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStatus {
    /// When the generation in force was read.
    pub generation_read_at: UnixTime,
    /// The last moment of its leaf.
    pub not_after: Option<UnixTime>,
    /// Why what is there now is not taken; nothing where it is in force.
    pub last_failure: Option<Explanation>,
    /// How many looks ended in a failure.
    pub failures: u64,
    /// How many generations were taken after the first.
    pub reloads: u64,
    /// Whether the system tells of changes; polling goes on in any case.
    pub watching: bool,
    /// How often telling could not be set up, or ended.
    pub watcher_failures: u64,
    /// Whether nothing new can come without a restart.
    pub static_source: bool,
    /// Less than a third of the leaf's lifetime remains.
    pub alarm: Option<Explanation>,
}

/// A source at work; it ends when this is dropped.
pub struct Watch {
    material: watch::Receiver<Arc<Material>>,
    status: watch::Receiver<SourceStatus>,
    nudge: Arc<Notify>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Watch {
    /// The generation in force.
    pub fn current(&self) -> Arc<Material> {
        self.material.borrow().clone()
    }

    /// Waits for the next generation; nothing when the source has ended.
    pub async fn changed(&mut self) -> Option<Arc<Material>> {
        self.material.changed().await.ok()?;
        Some(self.material.borrow_and_update().clone())
    }

    /// The generations, for another task.
    pub fn material(&self) -> watch::Receiver<Arc<Material>> {
        self.material.clone()
    }

    /// How it is doing, for metrics.
    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.clone()
    }

    /// Looks now: for a signal or a command that asks for it.
    pub fn reload(&self) {
        self.nudge.notify_one();
    }

    /// Ends it, and waits until it has.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // It has ended either way.
            let _ = task.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) async fn start(origin: Arc<dyn Origin>, clock: Clock) -> Result<Watch, SourceError> {
    let habits = origin.habits();
    let (mut notices, told) = Notices::new(habits.files.clone());
    // Before the first look, so that no change falls between.
    let (notices, watching) = blocking(move || {
        let watching = notices.arm();
        (notices, watching)
    })
    .await?;
    let now = clock();
    let first = settled(&origin, None, &clock, habits.settle).await?.ok_or(SourceError::Ended)?;
    let status = SourceStatus {
        generation_read_at: now,
        not_after: first.pair().map(|pair| pair.leaf().not_after),
        last_failure: None,
        failures: 0,
        reloads: 0,
        watching,
        watcher_failures: notices.failures(),
        static_source: habits.is_static,
        alarm: None,
    };
    let (material, material_receiver) = watch::channel(Arc::new(first));
    let (status, status_receiver) = watch::channel(status);
    let (nudge, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let mut keeper = Keeper {
        origin,
        clock,
        habits,
        material,
        status,
        notices: Some(notices),
        problem: None,
        alarm: Alarm::None,
    };
    keeper.tell_concerns();
    keeper.sound_alarm();
    let task = tokio::spawn(keeper.run(told, nudge.clone(), stop.clone()));
    Ok(Watch { material: material_receiver, status: status_receiver, nudge, stop, task: Some(task) })
}

struct Keeper {
    origin: Arc<dyn Origin>,
    clock: Clock,
    habits: Habits,
    material: watch::Sender<Arc<Material>>,
    status: watch::Sender<SourceStatus>,
    /// Away while they are at work on a thread that may block.
    notices: Option<Notices>,
    /// What was logged last, so that it is logged once.
    problem: Option<(Code, String)>,
    alarm: Alarm,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    None,
    EndsSoon,
    Ended,
}

impl Keeper {
    async fn run(mut self, mut told: mpsc::Receiver<()>, nudge: Arc<Notify>, stop: CancellationToken) {
        let mut looked = (Instant::now(), (self.clock)());
        loop {
            let mut due = false;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.habits.poll.min(TICK)) => {}
                Some(()) = told.recv() => {
                    quiet(&mut told).await;
                    due = true;
                }
                () = nudge.notified() => due = true,
            }
            // By both clocks: one stands still while a machine sleeps, the other can be set.
            let passed = (self.clock)().secs_since(looked.1).unsigned_abs();
            let by_wall_clock = passed >= self.habits.poll.as_secs().max(1);
            if due || looked.0.elapsed() >= self.habits.poll || by_wall_clock {
                looked = (Instant::now(), (self.clock)());
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.look() => {}
                }
            }
            self.sound_alarm();
        }
    }

    async fn look(&mut self) {
        let Some(mut notices) = self.notices.take() else { return };
        let armed = blocking(move || {
            let watching = notices.arm();
            (notices, watching)
        });
        if let Ok((notices, watching)) = armed.await {
            let watcher_failures = notices.failures();
            self.notices = Some(notices);
            self.status.send_if_modified(|status| {
                let changed = status.watching != watching || status.watcher_failures != watcher_failures;
                (status.watching, status.watcher_failures) = (watching, watcher_failures);
                changed
            });
        }
        let current = self.material.borrow().clone();
        // What was bad at the last look is not waited for again.
        let patience = if self.problem.is_none() { self.habits.settle } else { Duration::ZERO };
        match settled(&self.origin, Some(&current), &self.clock, patience).await {
            Ok(None) => self.all_is_well(),
            Ok(Some(next)) if next.digest() == current.digest() => self.all_is_well(),
            Ok(Some(next)) => self.take(next),
            Err(SourceError::Ended) => {}
            Err(error) => self.refuse(&error),
        }
    }

    fn take(&mut self, next: Material) {
        let now = (self.clock)();
        let not_after = next.pair().map(|pair| pair.leaf().not_after);
        let until = not_after.map(|at| at.to_string()).unwrap_or_default();
        tracing::info!(generation = %next.digest().short(), not_after = %until, "took a new generation");
        self.problem = None;
        self.material.send_replace(Arc::new(next));
        self.status.send_modify(|status| {
            status.generation_read_at = now;
            status.not_after = not_after;
            status.last_failure = None;
            status.reloads += 1;
        });
        self.tell_concerns();
    }

    fn all_is_well(&mut self) {
        if self.problem.take().is_some() {
            tracing::info!("the source holds the generation in force again");
            self.status.send_modify(|status| status.last_failure = None);
        }
    }

    fn refuse(&mut self, error: &SourceError) {
        let why = error.explain();
        let problem = error.same_problem();
        if self.problem.as_ref() != Some(&problem) {
            let since = self.status.borrow().generation_read_at;
            tracing::error!(code = %why.code, %why, hint = why.hint, read_at = %since,
                "a new generation was refused; going on with the last good one");
            self.problem = Some(problem);
        }
        self.status.send_modify(|status| {
            status.failures += 1;
            status.last_failure = Some(why);
        });
    }

    fn tell_concerns(&self) {
        for why in self.material.borrow().concerns((self.clock)()) {
            tracing::warn!(code = %why.code, %why, hint = why.hint, "usable, and perhaps not what was meant");
        }
    }

    /// Once when the last third begins, once at the end.
    fn sound_alarm(&mut self) {
        let now = (self.clock)();
        let alarm = self.material.borrow().expires_alarm(now, self.habits.rotates);
        let not_after = self.status.borrow().not_after;
        let level = match (&alarm, not_after) {
            (None, _) => Alarm::None,
            (Some(_), Some(end)) if end < now => Alarm::Ended,
            (Some(_), _) => Alarm::EndsSoon,
        };
        if level == self.alarm {
            return;
        }
        self.alarm = level;
        if let Some(why) = &alarm {
            let hint = why.hint.as_deref().unwrap_or_default();
            tracing::warn!(code = %why.code, hint, "{}", why.message);
        }
        self.status.send_modify(|status| status.alarm = alarm);
    }
}

/// Reads until the files stand still and fit each other, or for `patience`.
async fn settled(
    origin: &Arc<dyn Origin>,
    current: Option<&Arc<Material>>,
    clock: &Clock,
    patience: Duration,
) -> Result<Option<Material>, SourceError> {
    let (mut pause, mut left) = (SETTLE_FIRST, patience);
    loop {
        let (origin, current, now) = (origin.clone(), current.cloned(), clock());
        let read = blocking(move || origin.read(current.as_deref(), now)).await?;
        match read {
            Err(error) if error.may_settle() && !left.is_zero() => {
                let wait = pause.min(left);
                tokio::time::sleep(wait).await;
                left -= wait;
                pause = (pause * 2).min(SETTLE_LONGEST);
            }
            read => return read,
        }
    }
}

/// Waits until no notice has come for a moment.
async fn quiet(told: &mut mpsc::Receiver<()>) {
    let begun = Instant::now();
    while begun.elapsed() < QUIET_MAX {
        if tokio::time::timeout(QUIET, told.recv()).await.is_err() {
            return;
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SourceError::Ended)
}
