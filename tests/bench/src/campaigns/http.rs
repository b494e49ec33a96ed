//! As little of HTTP/1.1 as it takes to measure: a kept connection, one request at a time. A measuring tool, not a client.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer takes longer than a request may.
const PATIENCE: Duration = Duration::from_secs(30);
const HEAD_END: &[u8] = b"\r\n\r\n";

/// Where a whole answer is in what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    pub status: u16,
    pub body: usize,
    pub end: usize,
}

/// The answer that `received` begins with; `None` if that is not all of it yet.
///
/// # Errors
/// When it is not HTTP, or has no length.
pub fn whole(received: &[u8]) -> Result<Option<Whole>> {
    let Some(head) = memmem::find(received, HEAD_END) else { return Ok(None) };
    let text = &received[..head];
    let status = text.strip_prefix(b"HTTP/1.1 ").and_then(|rest| number(rest.get(..3)?)).context("not an answer of HTTP/1.1")?;
    let named = |name: &[u8]| memmem::find(text, name).map(|at| at + name.len());
    let length = named(b"\r\ncontent-length:").or_else(|| named(b"\r\nContent-Length:")).context("an answer without a length")?;
    let length = text[length..].trim_ascii_start();
    let digits = length.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length = number(&length[..digits]).context("a length that is none")?;
    let body = head + HEAD_END.len();
    let end = body + usize::try_from(length)?;
    Ok((received.len() >= end).then_some(Whole { status: u16::try_from(status)?, body, end }))
}

/// The decimal number that these digits are.
pub fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The decimal number that follows `name`.
pub fn number_after(text: &[u8], name: &[u8]) -> Option<u64> {
    let from = memmem::find(text, name)? + name.len();
    let digits = text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    number(&text[from..from + digits])
}

/// `GET`, with a credential if there is one.
pub fn get(path: &str, token: Option<&str>) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{authorization}\r\n")
}

/// `POST`.
pub fn post(path: &str, token: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// A kept connection.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub async fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(16 * 1024) })
    }

    /// The status and the body that a request is answered with.
    pub async fn exchange(&mut self, request: &str) -> Result<(u16, &[u8])> {
        self.received.clear();
        let exchange = async {
            self.stream.write_all(request.as_bytes()).await?;
            loop {
                ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the connection was closed without an answer");
                if let Some(whole) = whole(&self.received)? {
                    return Ok(whole);
                }
            }
        };
        let Whole { status, body, end } = tokio::time::timeout(PATIENCE, exchange).await.context("no answer")??;
        Ok((status, &self.received[body..end]))
    }

    /// The JSON that a request is answered with.
    ///
    /// # Errors
    /// Also when the status is not `expected`.
    pub async fn json(&mut self, request: &str, expected: u16) -> Result<Value> {
        let (status, body) = self.exchange(request).await?;
        if status != expected {
            bail!("{status}: {}", String::from_utf8_lossy(body));
        }
        Ok(serde_json::from_slice(body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nhello";
        for part in 0..answer.len() {
            assert_eq!(whole(&answer[..part]).unwrap(), None, "{part}");
        }
        let whole = whole(answer).unwrap().unwrap();
        assert_eq!((whole.status, &answer[whole.body..whole.end]), (200, &b"hello"[..]));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        assert!(whole(b"SSH-2.0\r\n\r\n").is_err());
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_number_is_found_by_the_name_before_it() {
        assert_eq!(number_after(br#"{"position":17,"rank":18}"#, br#""position":"#), Some(17));
        assert_eq!(number_after(br#"{"position":null}"#, br#""position":"#), None);
        assert_eq!(number_after(b"{}", br#""position":"#), None);
    }
}
