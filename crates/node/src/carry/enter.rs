//! The way in: from an accepted socket to a caller that TLS has authenticated, as far as it can.

use std::net::SocketAddr;
use std::time::Duration;

use certus_pki::explain::{Explain, Explanation};
use certus_pki::{UnixTime, code, defaults};
use certus_tls::HandshakeError;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Run;
use super::inbound::{Addresses, Entered, Inbound};
use super::proxy_protocol::{Ends, read_header};
use super::seats::Seat;
use super::sniff::{Begins, Peeked, sniff};
use super::wire::Outer;
use crate::clock::duration;
use crate::metrics::Side;
use crate::spec::{Mtls, Transport};

/// A proxy sends its header with the first bytes; who says nothing that long is none.
const PROXY_HEADER_WITHIN: Duration = Duration::from_secs(5);
/// A TLS client speaks at once; a client in the clear may wait for the server to speak.
const SNIFF_WITHIN: Duration = Duration::from_secs(1);
/// What TLS gives a caller in all, which includes its first word.
const FIRST_WORD_WITHIN: Duration = duration(defaults::HANDSHAKE_TIMEOUT);

impl Inbound {
    /// Authenticates one connection as far as TLS can; nobody where it failed, which was told, or where the
    /// node ends.
    pub(super) async fn enter(
        &self,
        tcp: TcpStream,
        from: SocketAddr,
        seat: &Seat,
        run: &Run,
    ) -> Option<Entered> {
        let mut ends = Addresses { from, to: tcp.local_addr().ok(), tls: None };
        let entered = tokio::select! {
            () = run.ending.cancelled() => return None,
            () = seat.wanted() => Err(Seat::given_up()),
            entered = self.entering(tcp, &mut ends, run) => entered.transpose()?,
        };
        match entered {
            Ok((outer, admission)) => {
                seat.settle();
                let came = || self.watched.as_ref().map(|watched| watched.came(ends.from.ip()));
                let clear = admission.is_plaintext().then(came).flatten();
                Some(Entered { outer, admission, ends, clear })
            }
            Err(why) => {
                self.failed(ends.from, "", why);
                None
            }
        }
    }

    async fn entering(
        &self,
        mut tcp: TcpStream,
        ends: &mut Addresses,
        run: &Run,
    ) -> Result<Option<(Outer, certus_tls::Admission)>, Explanation> {
        if self.spec.proxy_protocol.accept {
            let header = timeout(PROXY_HEADER_WITHIN, read_header(&mut tcp));
            let header = header.await.map_err(|_| no_proxy_header())?.map_err(|error| error.explain())?;
            if let Ends::Tcp { source, destination } = header.ends {
                *ends = Addresses { from: source, to: Some(destination), tls: None };
            }
        }
        let rejected = |rejection: certus_pki::Rejection| rejection.explain();
        if self.spec.plaintext {
            let admission = self.server.admit_unknown().map_err(rejected)?;
            return Ok(Some((Outer::Plain(Peeked::whole(tcp)), admission)));
        }
        let peeked = match self.spec.tls.mtls {
            Mtls::Permissive { until } => match self.sniffed(tcp, until).await? {
                (Begins::Tls, peeked) => peeked,
                (Begins::Plaintext | Begins::Silent, peeked) => {
                    let admission = self.server.admit_plaintext().map_err(rejected)?;
                    self.means.metrics.plaintext_accepted(&self.spec.name);
                    tracing::warn!(name = self.spec.name, from = %ends.from,
                        "a caller came in the clear; it will be refused once mtls is true");
                    return Ok(Some((Outer::Plain(peeked), admission)));
                }
            },
            Mtls::Required | Mtls::Off => {
                // Who says nothing has no part in a handshake, and takes nobody's place in one.
                let mut first = [0];
                let said = tokio::select! {
                    () = run.closing.cancelled() => return Ok(None),
                    said = timeout(FIRST_WORD_WITHIN, tcp.peek(&mut first)) => said,
                };
                if said.is_err() {
                    let error = HandshakeError::Timeout;
                    self.means.metrics.handshake(Side::Server, Err(&error));
                    return Err(error.explain());
                }
                Peeked::whole(tcp)
            }
        };
        let place = self.handshakes.place().await?;
        let outcome = place.hold(self.server.accept(peeked)).await?;
        self.means.metrics.handshake(Side::Server, outcome.as_ref().map(drop));
        let tls = outcome.map_err(|error| error.explain())?;
        let admission = tls.admission().clone();
        ends.tls = Some(tls.version());
        self.means.note_expired(&self.spec.name, &admission);
        Ok(Some((Outer::Tls(Box::new(tls)), admission)))
    }

    /// What a connection to a permissive listener begins with.
    async fn sniffed(
        &self,
        tcp: TcpStream,
        until: UnixTime,
    ) -> Result<(Begins, Peeked<TcpStream>), Explanation> {
        let broke = |error| {
            Explanation::new(code::HANDSHAKE_FAILED, "the connection ended before it said anything")
                .fact("the system says", error)
        };
        let taken = self.server.now() <= until && self.spec.allow.mentions_plaintext();
        // In HTTP the client speaks first; and where plaintext is not taken, TLS may take its time.
        let server_may_speak = taken && self.spec.transport == Transport::Tcp;
        let limit = if server_may_speak { SNIFF_WITHIN } else { FIRST_WORD_WITHIN };
        let (begins, peeked) = sniff(tcp, limit).await.map_err(broke)?;
        let now = self.server.now();
        if begins != Begins::Tls && now > until {
            return Err(Explanation::new(code::PLAINTEXT, "plaintext is no longer taken here")
                .fact("now", now)
                .fact("until", until)
                .hint("give the caller a certificate, or move `mtls_until` of the listener"));
        }
        Ok((begins, peeked))
    }
}

fn no_proxy_header() -> Explanation {
    Explanation::new(code::PROXY_PROTOCOL, "no PROXY protocol header came")
        .halves("a version 2 header at once", format!("nothing within {} s", PROXY_HEADER_WITHIN.as_secs()))
        .hint("let the proxy send it (haproxy: send-proxy-v2), or take proxy_protocol.accept off")
}
