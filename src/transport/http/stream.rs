//! The byte stream of one HTTP/1.1 connection, under awc.
//!
//! Owns what awc leaves open: interim answers (1xx) are dropped, as awc would take one for the
//! answer and give the true one to the next request; the end of the stream is an error, as awc
//! would take a body that was cut off for a whole one; and an answer without a length is made out
//! to be HTTP/1.0, as awc would not read its body and use the connection again. An answer that
//! came before the request was written is read too. Refuses to understand anything else. Read
//! [`super::connect`] next.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_rt::net::{ActixStream, Ready, TcpStream};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::logic::attempt_log::Step;
use crate::transport::timeline;

/// The longest head of an answer, and the most bytes of interim answers before one.
const MAX_HEAD: usize = 64 * 1024;
/// How much is read at once while a head is awaited.
const READ: usize = 8 * 1024;

/// What carries the bytes.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection whose answers awc can read without harm.
#[derive(Debug)]
pub(super) struct AnswerStream {
    wire: Wire,
    /// Read, but not handed on.
    held: BytesMut,
    /// A request went out and the head of its answer is not complete.
    awaiting: bool,
    /// The request is written, as far as can be told: its answer is being read.
    listening: bool,
    /// Bytes of interim answers dropped since the request.
    dropped: usize,
    /// The peer takes no more bytes. It may have answered before, so that is read all the same.
    deaf: bool,
}

/// What the beginning of an answer turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// It cannot be told yet.
    Incomplete,
    /// An interim answer of so many bytes.
    Interim(usize),
    /// The answer, its end told by a length; or no HTTP/1 at all: awc finds the words for that.
    Final,
    /// The answer; only the end of the connection tells its end.
    Endless,
}

/// The place of the version's last digit: `HTTP/1.1`.
const MINOR: usize = 7;

fn look(bytes: &[u8]) -> Head {
    if bytes.len() >= MINOR && !bytes.starts_with(b"HTTP/1.") {
        return Head::Final;
    }
    let Some(length) = head_length(bytes) else { return Head::Incomplete };
    let head = bytes.get(..length).unwrap_or_default().to_ascii_lowercase();
    let status = head.get(9..12).unwrap_or_default();
    let says = |name: &[u8]| head.windows(name.len()).any(|part| part == name);
    match status {
        // It ends HTTP on this connection, so it is the last word.
        b"101" | b"204" | b"304" => Head::Final,
        [b'1', ..] => Head::Interim(length),
        _ if says(b"\ncontent-length:") || says(b"\ntransfer-encoding:") => Head::Final,
        _ => Head::Endless,
    }
}

/// How many bytes the head has, the empty line included. As awc, it takes lines without CR.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let ends =
        |end: &[u8]| Some(bytes.windows(end.len()).position(|part| part == end)? + end.len());
    match (ends(b"\n\r\n"), ends(b"\n\n")) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl AnswerStream {
    pub(super) fn new(wire: Wire) -> Self {
        let held = BytesMut::new();
        Self { wire, held, awaiting: false, listening: false, dropped: 0, deaf: false }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.wire {
            Wire::Plain(tcp) => tcp,
            Wire::Tls(tls) => tls.get_ref().0,
        }
    }

    fn read_wire(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = into.filled().len();
        ready!(match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_read(cx, into),
            Wire::Tls(tls) => Pin::new(tls).poll_read(cx, into),
        })?;
        if into.filled().len() == before && into.remaining() > 0 {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads until the head of the answer itself is held, dropping interim ones.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match look(&self.held) {
                Head::Final => break,
                Head::Endless => {
                    if let Some(minor) = self.held.get_mut(MINOR) {
                        *minor = b'0';
                    }
                    break;
                }
                Head::Interim(length) => {
                    self.held.advance(length);
                    self.dropped += length;
                }
                Head::Incomplete => {
                    if self.held.len() + self.dropped > MAX_HEAD {
                        return Poll::Ready(Err(Error::new(
                            ErrorKind::InvalidData,
                            "the head of the answer does not end",
                        )));
                    }
                    let mut space = [0; READ];
                    let mut buffer = ReadBuf::new(&mut space);
                    ready!(self.read_wire(cx, &mut buffer))?;
                    self.held.extend_from_slice(buffer.filled());
                }
            }
        }
        self.awaiting = false;
        self.listening = false;
        timeline::begin(Step::Body);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for AnswerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        if this.awaiting {
            if !this.listening {
                this.listening = true;
                timeline::begin(Step::FirstByte);
            }
            ready!(this.poll_head(cx))?;
        }
        if this.held.is_empty() {
            return this.read_wire(cx, into);
        }
        let length = this.held.len().min(into.remaining());
        into.put_slice(&this.held.split_to(length));
        Poll::Ready(Ok(()))
    }
}

/// A peer that refuses a request early (413, 401) answers and closes while we still write.
fn closed(error: &Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
}

impl AsyncWrite for AnswerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let this = &mut *self;
        if !this.awaiting {
            timeline::begin(Step::Publish);
        }
        this.awaiting = true;
        this.dropped = 0;
        if this.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(match &mut this.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Wire::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        });
        match written {
            Err(cause) if closed(&cause) => {
                this.deaf = true;
                Poll::Ready(Ok(bytes.len()))
            }
            other => Poll::Ready(other),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_flush(cx),
        });
        match flushed {
            Err(cause) if closed(&cause) => {
                self.deaf = true;
                Poll::Ready(Ok(()))
            }
            other => Poll::Ready(other),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

impl ActixStream for AnswerStream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Ready>> {
        ActixStream::poll_read_ready(self.tcp(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<Result<Ready>> {
        ActixStream::poll_write_ready(self.tcp(), cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_beginning_of_an_answer_is_told_from_an_interim_one() {
        let check = |text: &str, expected: Head| assert_eq!(look(text.as_bytes()), expected);
        check("", Head::Incomplete);
        check("HTTP", Head::Incomplete);
        check("HTTP/1.1 100 Continue\r\n", Head::Incomplete);
        check("HTTP/1.1 100 Continue\r\n\r\n", Head::Interim(25));
        check("HTTP/1.1 100 Continue\n\nHTTP", Head::Interim(23));
        check("HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n", Head::Interim(31));
        check("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", Head::Final);
        check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Head::Final);
        check("HTTP/1.1 200 OK\r\ncontent-LENGTH: 0\r\n\r\n", Head::Final);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0", Head::Final);
        check("HTTP/1.1 204 No Content\r\n\r\n", Head::Final);
        check("HTTP/1.1 200 OK\r\n\r\nhello\r\nContent-Length: 5", Head::Endless);
        check("HTTP/1.0 200 OK\n\nhello", Head::Endless);
        check("SSH-2.0-OpenSSH", Head::Final);
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_disturb_the_look(bytes: Vec<u8>) {
            if let Head::Interim(length) = look(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
