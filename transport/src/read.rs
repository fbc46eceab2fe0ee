//! Reading a stream in pieces of known size.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use quinn::{ReadError, RecvStream};

/// What one look into the stream takes at most: a few datagrams. More would hold more memory than the
/// flow control knows of.
const CHUNKS_MAX: usize = 16;

/// A stream that gives out as many bytes as are asked for.
///
/// Quinn's chunks are parts of the datagrams that brought them, and keep a whole burst of datagrams in
/// memory. So everything is copied once, into memory of its own: a message that lives for long must
/// not hold sixty times its size.
pub(crate) struct ChunkReader {
    stream: RecvStream,
    ready: VecDeque<Bytes>,
}

impl ChunkReader {
    pub(crate) fn new(stream: RecvStream) -> ChunkReader {
        ChunkReader { stream, ready: VecDeque::with_capacity(CHUNKS_MAX) }
    }

    /// The next `N` bytes, or none if the stream ends right here.
    pub(crate) async fn next_array<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Broken> {
        if self.ready.is_empty() && !self.look().await? {
            return Ok(None);
        }
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            let chunk = self.chunk().await?;
            let size = chunk.len().min(N - filled);
            chunk.copy_to_slice(&mut bytes[filled..filled + size]);
            filled += size;
        }
        Ok(Some(bytes))
    }

    /// Appends the next `size` bytes.
    pub(crate) async fn append(&mut self, out: &mut Vec<u8>, size: usize) -> Result<(), Broken> {
        out.reserve_exact(size);
        let end = out.len() + size;
        while out.len() < end {
            let chunk = self.chunk().await?;
            let size = chunk.len().min(end - out.len());
            out.extend_from_slice(&chunk[..size]);
            chunk.advance(size);
        }
        Ok(())
    }

    /// A chunk with at least one byte.
    async fn chunk(&mut self) -> Result<&mut Bytes, Broken> {
        while self.ready.front().is_some_and(Bytes::is_empty) {
            self.ready.pop_front();
        }
        if self.ready.is_empty() && !self.look().await? {
            return Err(Broken::Short);
        }
        Ok(self.ready.front_mut().expect("looking found something"))
    }

    /// Whether there was more.
    async fn look(&mut self) -> Result<bool, Broken> {
        let mut chunks = [const { Bytes::new() }; CHUNKS_MAX];
        let Some(count) = self.stream.read_chunks(&mut chunks).await? else {
            return Ok(false);
        };
        self.ready.extend(chunks.into_iter().take(count).filter(|chunk| !chunk.is_empty()));
        Ok(!self.ready.is_empty())
    }
}

/// Why a stream gives no more bytes.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It ended in the middle of something.
    Short,
    /// It did not get on.
    Slow,
    Stream(ReadError),
}

impl From<ReadError> for Broken {
    fn from(error: ReadError) -> Broken {
        Broken::Stream(error)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::Short => f.write_str("ended too early"),
            Broken::Slow => f.write_str("took too long"),
            Broken::Stream(error) => write!(f, "{error}"),
        }
    }
}
