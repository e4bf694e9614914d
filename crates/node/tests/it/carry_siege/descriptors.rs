//! A node that has no file descriptor left: it accepts again once it has.

use super::*;

/// Its own, and a few for those that it serves.
const DESCRIPTORS: usize = 80;
/// More than that, on each listener.
const CROWD: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_descriptor_left_accepts_again() {
    let besieged = Besieged::start(Some(DESCRIPTORS)).await;
    let friend = besieged.friend().await;
    let mut live = Vec::new();
    for transport in Transport::ALL {
        live.push(friend.is_served("before", transport).await);
    }
    for attacked in [Transport::Tcp, Transport::H2, Transport::Ws] {
        let mut crowd = Vec::new();
        for _ in 0..CROWD {
            crowd.push(TcpStream::connect(besieged.port(attacked)).await.unwrap());
        }
        crate::until("it has none left", || besieged.descriptors() >= DESCRIPTORS).await;
        for tcp in &mut live {
            ping(tcp).await.unwrap();
        }
        // Those that say nothing give way, though there would be places enough.
        for transport in Transport::ALL {
            friend.is_served(&format!("while {attacked} is besieged"), transport).await;
        }
        drop(crowd);
        for transport in Transport::ALL {
            friend.is_served(&format!("after the siege of {attacked}"), transport).await;
        }
    }
    assert!(besieged.number("certus_accept_failures_total").unwrap() > 0);
}
