//! Orders that the managers have no index for: everything is read, and the first of it kept.

use certus_pki::{Explanation, UnixTime, code};
use certus_wire::v1;

use super::super::cursor::{Cursor, Kind};
use super::request;
use crate::args::{List, Order};
use crate::managers::{Managers, PAGE};

/// Certificates that are sorted here: at some 300 bytes each, 30 MB.
const SORTED_MAX: usize = 100_000;

/// Whether the managers can list in this order.
pub(super) fn has_index(order: Order, list: &List) -> bool {
    match order {
        Order::Node => true,
        // One node's certificates are few, and reading everybody's for them is not worth it.
        Order::Expires => list.node.is_none(),
        Order::Issued => false,
    }
}

/// Smallest first.
type Rank = (i64, Vec<u8>);

/// What comes first of all that was read.
pub(super) struct Collected {
    order: Order,
    kept: Vec<(Rank, v1::Cert)>,
    /// How many are wanted, where that is known.
    limit: Option<usize>,
    /// What stood last in the list before.
    after: Option<Rank>,
    left_out: bool,
}

impl Collected {
    /// Reads everything that the list asks for. Returns what comes first, and where to go on.
    pub(super) async fn fetch(
        managers: &Managers,
        list: &List,
        order: Order,
        now: UnixTime,
    ) -> Result<(Vec<v1::Cert>, Option<Cursor>), Explanation> {
        let kind = if order == Order::Issued { Kind::Issued } else { Kind::NodeExpires };
        let after = Cursor::given(list.after.as_deref(), kind)?;
        let after =
            after.split_first_chunk::<8>().map(|(time, rest)| (i64::from_be_bytes(*time), rest.to_vec()));
        let limit = list.limit.map(|limit| limit as usize);
        let mut all = Collected { order, kept: Vec::new(), limit, after, left_out: false };
        let read_by = if list.node.is_some() { Order::Node } else { Order::Expires };
        let mut at = Vec::new();
        loop {
            let page = managers.certs(request(list, read_by, now, at, PAGE)).await?;
            all.take(page.certs)?;
            at = page.next;
            if at.is_empty() {
                return Ok(all.done(kind));
            }
        }
    }

    fn rank(&self, cert: &v1::Cert) -> Rank {
        let time = match self.order {
            Order::Issued => cert.issued_at.saturating_neg(),
            Order::Expires | Order::Node => cert.not_after,
        };
        (time, cert.id.as_ref().map(|id| id.serial.clone()).unwrap_or_default())
    }

    fn take(&mut self, certs: Vec<v1::Cert>) -> Result<(), Explanation> {
        for cert in certs {
            let rank = self.rank(&cert);
            if self.after.as_ref().is_none_or(|after| rank > *after) {
                self.kept.push((rank, cert));
            }
        }
        match self.limit {
            // Twice as many, so that sorting is not done for each.
            Some(limit) if self.kept.len() > limit.saturating_mul(2).max(SORTED_MAX / 10) => self.cut(limit),
            _ => {}
        }
        if self.kept.len() <= SORTED_MAX {
            return Ok(());
        }
        Err(Explanation::new(code::OUT_OF_BOUNDS, "too many certificates to be sorted here")
            .halves(format!("at most {SORTED_MAX}"), "more")
            .hint("--limit N, or --sort expires or node, which need not hold them all"))
    }

    fn cut(&mut self, limit: usize) {
        self.kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.left_out |= self.kept.len() > limit;
        self.kept.truncate(limit);
    }

    fn done(mut self, kind: Kind) -> (Vec<v1::Cert>, Option<Cursor>) {
        self.cut(self.limit.unwrap_or(usize::MAX));
        let last = self.kept.last().filter(|_| self.left_out).map(|((time, serial), _)| {
            let bytes = [&time.to_be_bytes()[..], serial].concat();
            Cursor::new(kind, bytes)
        });
        (self.kept.into_iter().map(|(_, cert)| cert).collect(), last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cert(issued_at: i64, serial: u8) -> v1::Cert {
        let id = Some(v1::CertId { issuer: vec![0; 32], serial: vec![serial] });
        v1::Cert { issued_at, id, ..v1::Cert::default() }
    }

    fn collected(limit: Option<usize>, after: Option<Rank>) -> Collected {
        Collected { order: Order::Issued, kept: Vec::new(), limit, after, left_out: false }
    }

    #[test]
    fn those_issued_last_come_first_and_lists_join_up() {
        let certs = || vec![cert(5, 1), cert(9, 2), cert(9, 3), cert(1, 4)];
        let serials = |certs: &[v1::Cert]| -> Vec<u8> {
            certs.iter().map(|cert| cert.id.as_ref().unwrap().serial[0]).collect()
        };
        let mut all = collected(Some(2), None);
        all.take(certs()).unwrap();
        let (first, next) = all.done(Kind::Issued);
        assert_eq!(serials(&first), [2, 3]);
        let bytes = Cursor::given(Some(&next.unwrap().to_string()), Kind::Issued).unwrap();
        let (time, rest) = bytes.split_first_chunk::<8>().unwrap();
        let mut all = collected(None, Some((i64::from_be_bytes(*time), rest.to_vec())));
        all.take(certs()).unwrap();
        let (rest, next) = all.done(Kind::Issued);
        assert_eq!((serials(&rest), next.is_none()), (vec![1, 4], true));
    }

    #[test]
    fn i6_what_is_held_is_bounded() {
        let mut all = collected(None, None);
        let many = (0..=SORTED_MAX).map(|_| cert(1, 1)).collect();
        assert_eq!(all.take(many).unwrap_err().code, code::OUT_OF_BOUNDS);
        let mut all = collected(Some(3), None);
        for _ in 0..3 {
            all.take((0..SORTED_MAX).map(|_| cert(1, 1)).collect()).unwrap();
        }
        assert_eq!(all.done(Kind::Issued).0.len(), 3);
    }
}
