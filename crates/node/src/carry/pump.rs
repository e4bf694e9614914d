//! Copies bytes both ways, and carries each direction's end on its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::rest::Rest;

/// What is read at once: four TLS records. Connections that wait for something to read hold none of it.
const BUFFER_BYTES: usize = 64 << 10;
/// What waits to be written and is no longer than this goes into a buffer of its own length: copied in a
/// microsecond, while a slow reader may take minutes.
const COPIED_BYTES_MAX: usize = 16 << 10;

thread_local! {
    /// The buffer that whoever reads next on this thread takes.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

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
    /// More came from the caller after its direction was ended for it.
    Late,
}

/// How both directions ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Each by its own end.
    Whole,
    /// The caller's by us, while it rested; the service's by itself.
    Drained,
}

/// Carries `tls` to `plain` and back until both directions ended, or either broke. `carried` says how
/// much went through even then. `rest` may end the caller's direction early.
pub(super) async fn carry<T, P>(
    tls: &mut (ReadHalf<T>, WriteHalf<T>),
    plain: &mut (ReadHalf<P>, WriteHalf<P>),
    inbound: bool,
    carried: &mut Carried,
    rest: &Rest<'_>,
) -> Result<Done, Broken>
where
    T: AsyncRead + AsyncWrite,
    P: AsyncRead + AsyncWrite,
{
    if inbound {
        let (wire, service) = ((&mut tls.0, &mut tls.1), (&mut plain.0, &mut plain.1));
        both_ways(wire, service, (Broken::Wire, Broken::Plain), carried, rest).await
    } else {
        let (local, wire) = ((&mut plain.0, &mut plain.1), (&mut tls.0, &mut tls.1));
        both_ways(local, wire, (Broken::Plain, Broken::Wire), carried, rest).await
    }
}

/// Which side an error is of.
type Side = fn(io::Error) -> Broken;
/// A side's two halves.
type Halves<'a, R, W> = (&'a mut R, &'a mut W);

async fn both_ways(
    caller: Halves<'_, impl AsyncRead + Unpin, impl AsyncWrite + Unpin>,
    service: Halves<'_, impl AsyncRead + Unpin, impl AsyncWrite + Unpin>,
    (of_caller, of_service): (Side, Side),
    carried: &mut Carried,
    rest: &Rest<'_>,
) -> Result<Done, Broken> {
    let Carried { towards, back } = carried;
    let answered = Notify::new();
    let asking = async {
        let mut resting = pin!(rest.begins());
        let asked = one_way(caller.0, service.1, (of_caller, of_service), towards, |is_read| {
            if is_read { rest.asked() } else { rest.delivered() }
        });
        tokio::select! {
            biased;
            asked = asked => return asked.map(|()| Done::Whole),
            () = &mut resting => {}
        }
        // All that came from the caller was written, or it would not rest.
        service.1.flush().await.map_err(of_service)?;
        service.1.shutdown().await.map_err(of_service)?;
        let mut late = [0];
        tokio::select! {
            biased;
            read = caller.0.read(&mut late) => match read.map_err(of_caller)? {
                0 => Ok(Done::Whole),
                // It would be lost, and must not be taken for delivered.
                _ => Err(Broken::Late),
            },
            () = answered.notified(), if rest.ends_with_answer() => Ok(Done::Drained),
        }
    };
    let answering = async {
        one_way(service.0, caller.1, (of_service, of_caller), back, |_| rest.answered()).await?;
        answered.notify_one();
        Ok(())
    };
    tokio::try_join!(asking, answering).map(|(done, ())| done)
}

/// `moves` is told of each chunk twice: when it was read, and when it was written.
async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    (reading, writing): (Side, Side),
    carried: &mut u64,
    moves: impl Fn(bool),
) -> Result<(), Broken> {
    let mut chunk = Chunk::default();
    loop {
        let count = poll_fn(|cx| chunk.poll_read(cx, from, to)).await;
        let count =
            count.map_err(|(by_writing, error)| if by_writing { writing(error) } else { reading(error) })?;
        if count == 0 {
            // TLS may hold back what the socket did not take.
            to.flush().await.map_err(writing)?;
            // The other direction goes on: a request may be complete long before its answer is.
            return to.shutdown().await.map_err(writing);
        }
        moves(true);
        poll_fn(|cx| chunk.poll_write(cx, to)).await.map_err(writing)?;
        moves(false);
        *carried += count as u64;
    }
}

/// Bytes on their way in one direction, and the memory they are in.
#[derive(Default)]
struct Chunk {
    /// Empty while nothing is on its way.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Something was written since the last flush.
    is_unflushed: bool,
}

impl Chunk {
    /// Reads into the thread's buffer; says how much came, or whether it was flushing that failed.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<usize, (bool, io::Error)>> {
        if self.buffer.len() < BUFFER_BYTES {
            self.buffer = SPARE.take();
            self.buffer.resize(BUFFER_BYTES, 0);
        }
        let mut room = ReadBuf::new(&mut self.buffer);
        let polled = Pin::new(from).poll_read(cx, &mut room);
        (self.begin, self.end) = (0, room.filled().len());
        if polled.is_ready() {
            return polled.map(|read| read.map(|()| self.end).map_err(|error| (false, error)));
        }
        SPARE.set(std::mem::take(&mut self.buffer));
        // Nothing follows for now: what was written must not wait for it.
        if self.is_unflushed && Pin::new(to).poll_flush(cx).map_err(|error| (true, error))?.is_ready() {
            self.is_unflushed = false;
        }
        Poll::Pending
    }

    /// Writes what was read.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        self.is_unflushed = true;
        while self.begin < self.end {
            let polled = Pin::new(&mut *to).poll_write(cx, &self.buffer[self.begin..self.end]);
            if polled.is_pending() {
                self.keep_little();
            }
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.begin += count,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Many who wait with little in a large buffer each would take much memory together.
    fn keep_little(&mut self) {
        let rest = self.end - self.begin;
        if self.buffer.len() == BUFFER_BYTES && rest <= COPIED_BYTES_MAX {
            let rest = self.buffer[self.begin..self.end].to_vec();
            (self.begin, self.end) = (0, rest.len());
            SPARE.set(std::mem::replace(&mut self.buffer, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rest::Asks;
    use super::*;
    use tokio::io::{duplex, split};

    #[tokio::test]
    async fn each_direction_ends_on_its_own() {
        let (mut caller, tls) = duplex(1 << 10);
        let (plain, mut service) = duplex(1 << 10);
        let carrying = tokio::spawn(async move {
            let mut carried = Carried::default();
            let rest = Rest::new(Asks::Nothing, false);
            let ended = carry(&mut split(tls), &mut split(plain), true, &mut carried, &rest).await;
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

    /// Takes what was written, and lets nobody see it before it is flushed.
    #[derive(Default)]
    struct Holding {
        held: Vec<u8>,
        seen: Vec<u8>,
    }

    impl AsyncWrite for Holding {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let held = std::mem::take(&mut self.held);
            self.seen.extend(held);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[tokio::test]
    async fn what_was_written_is_flushed_before_more_is_awaited_and_no_buffer_is_held_meanwhile() {
        let (mut sender, mut from) = duplex(1 << 10);
        let (mut to, mut chunk) = (Holding::default(), Chunk::default());
        sender.write_all(b"hello").await.unwrap();
        assert_eq!(poll_fn(|cx| chunk.poll_read(cx, &mut from, &mut to)).await.unwrap(), 5);
        poll_fn(|cx| chunk.poll_write(cx, &mut to)).await.unwrap();
        assert_eq!(to.seen, b"");
        poll_fn(|cx| {
            assert!(chunk.poll_read(cx, &mut from, &mut to).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(to.seen, b"hello");
        assert_eq!(chunk.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn little_that_waits_takes_little_memory_and_arrives() {
        let (mut sender, mut from) = duplex(1 << 10);
        let (mut to, mut receiver) = duplex(4);
        let mut chunk = Chunk::default();
        sender.write_all(b"0123456789").await.unwrap();
        poll_fn(|cx| chunk.poll_read(cx, &mut from, &mut to)).await.unwrap();
        poll_fn(|cx| {
            assert!(chunk.poll_write(cx, &mut to).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(chunk.buffer, b"456789");
        let writing = tokio::spawn(async move {
            poll_fn(|cx| chunk.poll_write(cx, &mut to)).await.unwrap();
            // The next is read into a whole buffer again.
            sender.write_all(&[7; 1_000]).await.unwrap();
            let count = poll_fn(|cx| chunk.poll_read(cx, &mut from, &mut to)).await.unwrap();
            (count, chunk.buffer.len())
        });
        let mut arrived = [0; 10];
        receiver.read_exact(&mut arrived).await.unwrap();
        assert_eq!(&arrived, b"0123456789");
        assert_eq!(writing.await.unwrap(), (1_000, BUFFER_BYTES));
    }
}
