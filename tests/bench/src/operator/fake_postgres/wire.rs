//! As much of PostgreSQL's protocol (version 3.0) as the operator's client speaks: no TLS, any password, one text column.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::FakePostgres;

const SSL_REQUEST: i32 = 80_877_103;
const TEXT: i32 = 25;

/// Serves one session to its end.
pub async fn serve(stream: TcpStream, fake: &FakePostgres) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let database = loop {
        let length = stream.read_i32().await?;
        let code = stream.read_i32().await?;
        let mut rest = vec![0; usize::try_from(length).unwrap_or(8).saturating_sub(8)];
        stream.read_exact(&mut rest).await?;
        if code == SSL_REQUEST {
            stream.write_all(b"N").await?;
            continue;
        }
        break parameter(&rest, "database").unwrap_or_default();
    };
    let mut answer = Answer::default();
    answer.message(b'R', &0_i32.to_be_bytes());
    for (name, value) in [("server_version", "15.0"), ("server_encoding", "UTF8"), ("client_encoding", "UTF8"), ("TimeZone", "UTC")] {
        answer.message(b'S', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    answer.message(b'K', &[0; 8]);
    answer.ready();
    stream.write_all(&answer.bytes).await?;

    let mut session = Session { fake, database, statement: String::new(), parameters: Vec::new() };
    loop {
        let Ok(kind) = stream.read_u8().await else { return Ok(()) };
        let length = usize::try_from(stream.read_i32().await?).unwrap_or(4).saturating_sub(4);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if kind == b'X' {
            return Ok(());
        }
        let mut answer = Answer::default();
        let flush = session.take(kind, &body, &mut answer);
        stream.write_all(&answer.bytes).await?;
        if flush {
            stream.flush().await?;
        }
    }
}

struct Session<'a> {
    fake: &'a FakePostgres,
    database: String,
    statement: String,
    parameters: Vec<String>,
}

impl Session<'_> {
    fn take(&mut self, kind: u8, body: &[u8], answer: &mut Answer) -> bool {
        match kind {
            b'Q' => {
                match self.fake.lock().execute(&self.database, &text(body)) {
                    Ok(()) => answer.message(b'C', b"OK\0"),
                    Err(message) => answer.error(&message),
                }
                answer.ready();
            }
            b'P' => {
                let mut parts = body.splitn(3, |byte| *byte == 0);
                self.statement = parts.nth(1).map(|query| String::from_utf8_lossy(query).into_owned()).unwrap_or_default();
                answer.message(b'1', &[]);
            }
            b'D' => {
                let count = self.statement.matches('$').count().min(self.highest_parameter());
                let mut parameters = i16::try_from(count).unwrap_or(0).to_be_bytes().to_vec();
                (0..count).for_each(|_| parameters.extend(TEXT.to_be_bytes()));
                answer.message(b't', &parameters);
                answer.column();
            }
            b'B' => {
                self.parameters = bound(body).unwrap_or_default();
                answer.message(b'2', &[]);
            }
            b'E' => match self.fake.lock().query(&self.database, &self.statement, &self.parameters) {
                Ok(row) => {
                    answer.row(&row);
                    answer.message(b'C', b"SELECT 1\0");
                }
                Err(message) => answer.error(&message),
            },
            b'C' => answer.message(b'3', &[]),
            b'S' => answer.ready(),
            _ => {}
        }
        matches!(kind, b'Q' | b'S' | b'H')
    }

    fn highest_parameter(&self) -> usize {
        (1..=9).rev().find(|number| self.statement.contains(&format!("${number}"))).unwrap_or(0)
    }
}

/// What is sent back.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    fn message(&mut self, kind: u8, body: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend(i32::try_from(body.len() + 4).unwrap_or(i32::MAX).to_be_bytes());
        self.bytes.extend(body);
    }

    fn ready(&mut self) {
        self.message(b'Z', b"I");
    }

    fn error(&mut self, message: &str) {
        let body = [b"SERROR\0VERROR\0CXX000\0M", message.as_bytes(), b"\0\0"].concat();
        self.message(b'E', &body);
    }

    fn column(&mut self) {
        let mut body = 1_i16.to_be_bytes().to_vec();
        body.extend(b"answer\0");
        body.extend(0_i32.to_be_bytes());
        body.extend(0_i16.to_be_bytes());
        body.extend(TEXT.to_be_bytes());
        body.extend((-1_i16).to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend(0_i16.to_be_bytes());
        self.message(b'T', &body);
    }

    fn row(&mut self, value: &str) {
        let mut body = 1_i16.to_be_bytes().to_vec();
        body.extend(i32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        body.extend(value.as_bytes());
        self.message(b'D', &body);
    }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body)).into_owned()
}

/// A parameter of the start-up message: names and values, each ended by a zero.
fn parameter(body: &[u8], name: &str) -> Option<String> {
    let mut parts = body.split(|byte| *byte == 0);
    while let Some(found) = parts.next() {
        let value = parts.next()?;
        if found == name.as_bytes() {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    None
}

/// The parameters of a Bind message, all of them text.
fn bound(body: &[u8]) -> Option<Vec<String>> {
    let mut rest = body;
    for _ in 0..2 {
        let end = rest.iter().position(|byte| *byte == 0)?;
        rest = &rest[end + 1..];
    }
    let formats = take_i16(&mut rest)?;
    rest = rest.get(usize::try_from(formats).ok()? * 2..)?;
    let count = take_i16(&mut rest)?;
    (0..count)
        .map(|_| {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
            let value = String::from_utf8_lossy(after.get(..length)?).into_owned();
            rest = &after[length..];
            Some(value)
        })
        .collect()
}

fn take_i16(rest: &mut &[u8]) -> Option<i16> {
    let (number, after) = rest.split_first_chunk::<2>()?;
    *rest = after;
    Some(i16::from_be_bytes(*number))
}
