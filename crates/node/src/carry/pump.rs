//! Copies bytes both ways, and carries each direction's end on its own.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

/// Most connections carry little, so buffers start small …
const BUFFER_BYTES_FIRST: usize = 4 << 10;
/// … and grow for those that fill them: four TLS records at a time.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// How much went through, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Towards the service.
    pub(super) towards: u64,
    /// Back from it.
    pub(super) back: u64,
}

/// Which side of a carried connection failed, and how.
#[derive(Debug)]
pub(super) enum Broken {
    /// The side towards the peer.
    Wire(io::Error),
    /// The plain side.
    Plain(io::Error),
}

/// Carries `tls` to `plain` and back until both directions ended, or either broke. `carried` says how
/// much went through even then.
pub(super) async fn carry<T, P>(
    tls: &mut (ReadHalf<T>, WriteHalf<T>),
    plain: &mut (ReadHalf<P>, WriteHalf<P>),
    inbound: bool,
    carried: &mut Carried,
) -> Result<(), Broken>
where
    T: AsyncRead + AsyncWrite,
    P: AsyncRead + AsyncWrite,
{
    let Carried { towards, back } = carried;
    let (from_tls, from_plain) = if inbound { (towards, back) } else { (back, towards) };
    let one = one_way(&mut tls.0, &mut plain.1, Broken::Wire, Broken::Plain, from_tls);
    let other = one_way(&mut plain.0, &mut tls.1, Broken::Plain, Broken::Wire, from_plain);
    tokio::try_join!(one, other).map(|_| ())
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    reading: impl Fn(io::Error) -> Broken,
    writing: impl Fn(io::Error) -> Broken,
    carried: &mut u64,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_BYTES_FIRST];
    loop {
        let count = from.read(&mut buffer).await.map_err(&reading)?;
        if count == 0 {
            // The other direction goes on: a request may be complete long before its answer is.
            return to.shutdown().await.map_err(&writing);
        }
        to.write_all(&buffer[..count]).await.map_err(&writing)?;
        // TLS may hold back what the socket did not take.
        to.flush().await.map_err(&writing)?;
        *carried += count as u64;
        if count == buffer.len() && count < BUFFER_BYTES_MAX {
            buffer = vec![0; count * 4];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{duplex, split};

    #[tokio::test]
    async fn each_direction_ends_on_its_own() {
        let (mut caller, tls) = duplex(1 << 10);
        let (plain, mut service) = duplex(1 << 10);
        let carrying = tokio::spawn(async move {
            let mut carried = Carried::default();
            let ended = carry(&mut split(tls), &mut split(plain), true, &mut carried).await;
            (ended.is_ok(), carried)
        });
        caller.write_all(b"question").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut question = String::new();
        service.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        // More than the largest buffer, after the other direction has ended.
        let answering = tokio::spawn(async move { service.write_all(&[7; 300_000]).await });
        let mut answer = Vec::new();
        caller.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [7; 300_000]);
        answering.await.unwrap().unwrap();
        assert_eq!(carrying.await.unwrap(), (true, Carried { towards: 8, back: 300_000 }));
    }
}
