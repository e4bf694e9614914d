//! What Certus costs, as ratios against named baselines in one run.
//!
//! No figure here is an assertion: a machine that is busy makes every one of them worse. Run one with
//! `cargo bench -p certus-benches --bench issuance`.
