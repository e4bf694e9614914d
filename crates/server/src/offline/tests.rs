//! How long a cluster can go on without its root, in numbers.

use certus_ca::Settings;
use certus_pki::{Epoch, Lifetime};

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_795_305_600);

fn outlook(days_left: i64, offline: bool) -> Outlook {
    let settings =
        Settings { leaf_lifetime: Lifetime::from_days(90), issuer_lifetime: Lifetime::from_days(360) };
    let cluster = ClusterState {
        name: "prod".parse().unwrap(),
        settings,
        founded_at: NOW,
        epoch: Epoch::default(),
        last_at: NOW,
    };
    let root = RootRecord {
        key_hash: Sha256::of(b"root"),
        der: Vec::new(),
        not_after: NOW.plus(Lifetime::from_days(3650)),
        active: true,
        key_sealed: if offline { Vec::new() } else { vec![1] },
    };
    let last = UnixTime::from_secs(NOW.secs() + (days_left + 90) * 86_400);
    Outlook::of(&cluster, &root, last, NOW)
}

#[test]
fn the_alert_comes_while_there_is_still_time() {
    let alert = |days| outlook(days, true).alert;
    assert_eq!(alert(180), None);
    assert_eq!(alert(179), Some(Alert::Soon));
    assert_eq!(alert(61), Some(Alert::Soon));
    assert_eq!(alert(60), Some(Alert::Urgent));
    assert_eq!(alert(1), Some(Alert::Urgent));
    assert_eq!([alert(0), alert(-1)], [Some(Alert::Over); 2]);
    let told = outlook(10, true).explain_alert(NOW).unwrap();
    assert_eq!(told.code, code::ROOT_NEEDED);
    assert!(told.hint.unwrap().contains("bring-online"));
}

#[test]
fn a_root_that_is_at_hand_alerts_nobody() {
    assert_eq!(outlook(1, false).alert, None);
    assert_eq!(outlook(1, false).explain_alert(NOW), None);
}

#[test]
fn an_alert_is_said_once_a_day_and_at_once_when_it_gets_worse() {
    let (soon, urgent) = (outlook(100, true), outlook(10, true));
    let first = say(&soon, None, NOW);
    assert_eq!(first, Some((Alert::Soon, NOW)));
    let later = NOW.plus(Lifetime::from_hours(1));
    assert_eq!(say(&soon, first, later), first);
    let tomorrow = NOW.plus(Lifetime::from_hours(24));
    assert_eq!(say(&soon, first, tomorrow), Some((Alert::Soon, tomorrow)));
    assert_eq!(say(&urgent, first, later), Some((Alert::Urgent, later)));
    assert_eq!(say(&outlook(200, true), first, later), None);
}
