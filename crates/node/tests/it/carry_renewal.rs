//! Renewals under load: nobody fails, and what lives goes on; on every transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use certus_node::Transport;
use certus_pki::{Bundle, Epoch, Root};
use certus_tls::Snapshot;

use crate::authority::Authority;
use crate::soon;
use crate::world::{ask, carried, echo, pair, ping, renewed, shouting};

/// Each of them a new key and certificate at both ends, every tenth with another root beside the first.
const ROTATIONS: u64 = 200;
const CLIENTS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotations_under_load_fail_nobody() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (one, two) = pair(&authority, transport, shouting().await).await;
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (port, stop, served) = (two.port(), stop.clone(), served.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = ask(port, b"hello").await;
                        assert_eq!(answer.unwrap(), b"HELLO", "{transport}");
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let other = Authority::new("prod");
        let mut revision = 1;
        for rotation in 0..ROTATIONS {
            let before = served.load(Ordering::Relaxed);
            for (end, id) in [(&one, "worker/web-1"), (&two, "worker/web-2")] {
                let identity = renewed(&authority, id);
                if rotation % 10 == 0 {
                    // A root comes or goes; the one that everybody stands on stays.
                    let mut roots = vec![Root::from_der(&authority.root.certificate().der).unwrap()];
                    if rotation % 20 == 0 {
                        roots.push(Root::from_der(&other.root.certificate().der).unwrap());
                    }
                    let epoch = Epoch { generation: 0, revision: revision + 1 };
                    let issuers: Vec<_> = authority.bundle().issuers().copied().collect();
                    let bundle = Bundle::new(authority.cluster.clone(), epoch, roots, issuers, []);
                    end.publisher.publish(Snapshot::new(Some(identity), Arc::new(bundle))).unwrap();
                } else {
                    end.publisher.publish_identity(identity).unwrap();
                }
            }
            revision += u64::from(rotation % 10 == 0);
            // Somebody is served under each.
            crate::until("somebody is served", || {
                served.load(Ordering::Relaxed) > before || clients.iter().any(|one| one.is_finished())
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            soon("a client", client).await.unwrap();
        }
        assert_eq!(one.carrier.failures().last().1, 0, "{transport}: {:?}", one.last_failure());
        assert_eq!(two.carrier.failures().last().1, 0, "{transport}: {:?}", two.last_failure());
    }
}

#[tokio::test]
async fn a_live_connection_outlives_a_renewal_and_new_ones_show_the_new_certificate() {
    let authority = Authority::new("prod");
    for transport in Transport::ALL {
        let (one, two) = pair(&authority, transport, echo().await).await;
        let mut live = carried(two.port()).await;
        for _ in 0..5 {
            one.publisher.publish_identity(renewed(&authority, "worker/web-1")).unwrap();
            two.publisher.publish_identity(renewed(&authority, "worker/web-2")).unwrap();
            ping(&mut live).await.unwrap();
        }
        let _new = carried(two.port()).await;
        let newest = two.publisher.current().identity().unwrap().leaf().serial;
        let serials = one.publisher.registry().connections();
        let serials: Vec<_> = serials.iter().map(|one| one.peer.as_ref().unwrap().peer.cert.serial).collect();
        assert_eq!(serials.len(), 2, "{transport}");
        assert_eq!(serials.last(), Some(&newest), "{transport}");
        ping(&mut live).await.unwrap();
    }
}
