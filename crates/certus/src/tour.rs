//! `certus dev --tour`: the story as steps, each ticked only if it was really observed.

mod http;
mod refusals;
mod renewal;
mod revocation;
mod story;

use std::path::Path;
use std::time::Instant;

use certus_pki::{Explanation, code};
use serde::Serialize;

use crate::terminal::{Exit, Terminal};
use crate::verbs::duration;
use story::Story;

/// Steps of the tour, so that a failure can say how many were left.
const STEPS: usize = 8;

#[derive(Serialize)]
struct Report {
    steps: Vec<StepData>,
    observed: usize,
    of: usize,
    took_ms: f64,
}

#[derive(Serialize)]
struct StepData {
    name: &'static str,
    observed: bool,
    took_ms: f64,
    detail: String,
}

/// Plays the steps one after the other, and shows each as it ends.
struct Player {
    terminal: Terminal,
    start: Instant,
    steps: Vec<StepData>,
}

/// Plays the tour in `dir`.
pub(crate) async fn play(terminal: Terminal, dir: &Path) -> Result<Exit, Explanation> {
    let mut player = Player { terminal, start: Instant::now(), steps: Vec::new() };
    let played = steps(&mut player, dir).await;
    player.finish();
    played.map(|()| Exit::Done)
}

async fn steps(player: &mut Player, dir: &Path) -> Result<(), Explanation> {
    let mut story = player.found(dir).await?;
    let played = scenes(player, &mut story).await;
    story.end().await;
    played
}

async fn scenes(player: &mut Player, story: &mut Story) -> Result<(), Explanation> {
    player.step("join web-1 and web-2 with one token each", story.join()).await?;
    player.step("call the service through the carrier", story.call()).await?;
    player.step("no certificate: refused", refusals::no_certificate(story)).await?;
    player.step("another CA's certificate: refused", refusals::another_ca(story)).await?;
    player.step("a worker posing as a manager: refused", refusals::posing_as_manager(story)).await?;
    player.step("renew web-1 with a new key", renewal::with_a_new_key(story)).await?;
    player.step("revoke web-2", revocation::of_the_caller(story)).await
}

impl Player {
    /// The first step, which makes what the others play on.
    async fn found(&mut self, dir: &Path) -> Result<Story, Explanation> {
        let start = Instant::now();
        let founded = Story::begin(dir).await;
        let (told, story) = match founded {
            Ok((story, detail)) => (Ok(detail), Ok(story)),
            Err(why) => (Err(why.clone()), Err(why)),
        };
        self.ended("found a cluster", start, told)?;
        story
    }

    async fn step(
        &mut self,
        name: &'static str,
        scene: impl Future<Output = Result<String, Explanation>>,
    ) -> Result<(), Explanation> {
        let start = Instant::now();
        let told = scene.await;
        self.ended(name, start, told)
    }

    fn ended(
        &mut self,
        name: &'static str,
        start: Instant,
        told: Result<String, Explanation>,
    ) -> Result<(), Explanation> {
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (observed, detail) = match &told {
            Ok(detail) => (true, detail.clone()),
            Err(why) => (false, why.to_string()),
        };
        if !self.terminal.json() {
            let mark = if observed { '✓' } else { '✗' };
            let took = duration(micros);
            self.terminal.result(&format!(" {mark} {name:<42}{took:>10}   {detail}"));
        }
        self.steps.push(StepData { name, observed, took_ms: micros as f64 / 1000.0, detail });
        told.map(drop)
    }

    fn finish(self) {
        let observed = self.steps.iter().filter(|step| step.observed).count();
        let took = self.start.elapsed();
        if self.terminal.json() {
            let took_ms = took.as_secs_f64() * 1000.0;
            self.terminal.data(&Report { steps: self.steps, observed, of: STEPS, took_ms });
        } else {
            self.terminal.result(&format!("{observed} of {STEPS} in {:.2} s", took.as_secs_f64()));
        }
    }
}

/// A step that was not observed: what it looked for, and what it saw.
fn not_observed(message: &str, expected: impl ToString, came: impl ToString) -> Explanation {
    Explanation::new(code::TOUR_FAILED, message).halves(expected, came)
}
