//! A node against real sockets and a small manager of its own.

mod authority;
mod manager;
mod world;

mod admin;
mod api;
mod carry_abuse;
mod carry_again;
mod carry_agents;
mod carry_bytes;
mod carry_cuts;
mod carry_drains;
mod carry_material;
mod carry_permissive;
mod carry_proxy;
mod carry_refusals;
mod carry_reload;
mod carry_renewal;
mod carry_shutdown;
mod carry_siege;
mod carry_streams;
mod embed;
mod failover;
mod files;
mod life;
mod sources;

use std::future::Future;
use std::time::Duration;

/// Waits until `condition` holds. The limit is not a measure of anything: it ends a test that hangs.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let held = tokio::time::timeout(Duration::from_secs(30), async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(held.await.is_ok(), "still waiting until {what}");
}

/// Waits for `future`, which a test that hangs never sees.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(30), future).await;
    done.unwrap_or_else(|_| panic!("still waiting for {what}"))
}
