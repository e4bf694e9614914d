//! The plain service behind a listener.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::outbound::Reset;
use super::wire::streams;
use crate::api::tune;
use crate::spec::Backend;

/// A service is near; one that does not answer by then is down.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the service.
pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Plain {
    pub(super) async fn connect(backend: &Backend) -> io::Result<Plain> {
        let connecting = async {
            match backend {
                Backend::Tcp(address) => {
                    let tcp = TcpStream::connect(address).await?;
                    tune(&tcp);
                    Ok(Plain::Tcp(tcp))
                }
                Backend::Unix(path) => UnixStream::connect(path).await.map(Plain::Unix),
            }
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        tokio::time::timeout(BACKEND_TIMEOUT, connecting).await.map_err(late)?
    }
}

impl Reset for Plain {
    fn reset(&self) {
        if let Plain::Tcp(tcp) = self {
            tcp.reset();
        }
    }
}

streams!(Plain { Tcp, Unix });
