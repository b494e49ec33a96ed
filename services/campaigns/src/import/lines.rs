//! The lines of a file, each as the JSON of a purchase, or with what is wrong with it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ImportError;

/// The longest line. A purchase of the longest event id has some hundreds of bytes.
const MAX_LINE: usize = 64 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const COLUMNS: [&str; 6] = ["eventId", "userId", "itemId", "amount", "currency", "timestamp"];

/// How purchases are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// JSON, one purchase on each line
    Ndjson,
    /// Comma-separated values with a header row
    Csv,
}

impl Format {
    /// As the name of the file says.
    pub(super) fn of(path: &Path) -> Self {
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if is_csv { Self::Csv } else { Self::Ndjson }
    }
}

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1, as an editor shows it.
    pub(super) number: u64,
    /// The purchase as JSON, or why it cannot be sent.
    pub(super) content: Text,
}

/// A line's text, or why it cannot be read.
type Text = Result<Vec<u8>, String>;

/// A place between two lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) line: u64,
}

/// A file's lines, in order.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    place: Place,
    /// Where each of [`COLUMNS`] is, in a CSV file.
    columns: Option<[usize; COLUMNS.len()]>,
}

impl Lines<File> {
    pub(super) fn open(path: &Path, file: File, format: Format) -> Result<Self, ImportError> {
        Self::new(file, format).map_err(|error| match error {
            HeaderError::Read(source) => ImportError::File { path: path.to_owned(), source },
            HeaderError::Missing(missing) => ImportError::Columns { path: path.to_owned(), missing },
        })
    }
}

enum HeaderError {
    Read(io::Error),
    Missing(String),
}

impl<R: Read + Seek> Lines<R> {
    fn new(source: R, format: Format) -> Result<Self, HeaderError> {
        let mut lines = Self { reader: BufReader::with_capacity(256 * 1024, source), place: Place::default(), columns: None };
        if format == Format::Csv {
            let header = lines.read().map_err(HeaderError::Read)?.map(|(_, text)| text).unwrap_or(Ok(Vec::new()));
            lines.columns = Some(columns(&header.unwrap_or_default())?);
        }
        Ok(lines)
    }

    /// Where the next line begins.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Goes on at a place that [`Self::place`] gave.
    pub(super) fn go_to(&mut self, place: Place) -> io::Result<()> {
        self.reader.seek(SeekFrom::Start(place.offset))?;
        self.place = place;
        Ok(())
    }

    /// The next line that is not blank.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        while let Some((number, text)) = self.read()? {
            let content = match text {
                Ok(text) if text.is_empty() => continue,
                Ok(text) => match &self.columns {
                    None => Ok(text),
                    Some(columns) => purchase_of_record(&text, columns),
                },
                Err(problem) => Err(problem),
            };
            return Ok(Some(Line { number, content }));
        }
        Ok(None)
    }

    /// The next line without white space around it, and its number.
    fn read(&mut self) -> io::Result<Option<(u64, Text)>> {
        let mut text = Vec::new();
        let mut bytes = self.reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut text)?;
        if bytes == 0 {
            return Ok(None);
        }
        let is_too_long = bytes > MAX_LINE && text.last() != Some(&b'\n');
        if is_too_long {
            bytes += self.reader.skip_until(b'\n')?;
        }
        let is_first = self.place.offset == 0;
        self.place.offset += bytes as u64;
        self.place.line += 1;
        if is_too_long {
            return Ok(Some((self.place.line, Err(format!("the line is longer than {MAX_LINE} bytes")))));
        }
        let text = if is_first { text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text) } else { &text };
        Ok(Some((self.place.line, Ok(text.trim_ascii().to_vec()))))
    }
}

/// The fields of one record.
fn fields(record: &[u8]) -> Result<csv::StringRecord, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).buffer_capacity(record.len().max(1)).from_reader(record);
    let mut fields = csv::StringRecord::new();
    reader.read_record(&mut fields).map_err(|error| match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "the line is not UTF-8".to_owned(),
        _ => error.to_string(),
    })?;
    Ok(fields)
}

fn columns(header: &[u8]) -> Result<[usize; COLUMNS.len()], HeaderError> {
    let header = fields(header).unwrap_or_default();
    let place = |column: &str| header.iter().position(|name| name.trim() == column);
    let missing: Vec<&str> = COLUMNS.into_iter().filter(|column| place(column).is_none()).collect();
    if !missing.is_empty() {
        return Err(HeaderError::Missing(missing.join(", ")));
    }
    Ok(COLUMNS.map(|column| place(column).unwrap_or_default()))
}

fn purchase_of_record(record: &[u8], columns: &[usize; COLUMNS.len()]) -> Text {
    let fields = fields(record)?;
    let mut values = [""; COLUMNS.len()];
    for ((value, place), column) in values.iter_mut().zip(columns).zip(COLUMNS) {
        *value = fields.get(*place).ok_or_else(|| format!("the line has {} fields, and so no {column}", fields.len()))?;
    }
    let [event_id, user_id, item_id, amount, currency, timestamp] = values;
    let purchase = json!({
        "eventId": event_id,
        "userId": user_id,
        "itemId": item_id,
        "amount": { "value": amount, "currency": currency },
        "timestamp": timestamp,
    });
    Ok(purchase.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn lines(format: Format, text: &[u8]) -> Lines<Cursor<Vec<u8>>> {
        Lines::new(Cursor::new(text.to_vec()), format).unwrap_or_else(|_| panic!("a header"))
    }

    fn all(format: Format, text: &[u8]) -> Vec<(u64, Result<String, String>)> {
        let mut lines = lines(format, text);
        let mut all = Vec::new();
        while let Some(Line { number, content }) = lines.next().unwrap() {
            all.push((number, content.map(|content| String::from_utf8_lossy(&content).into_owned())));
        }
        all
    }

    #[test]
    fn lines_of_json_are_taken_as_they_are_and_blank_ones_left_out() {
        let found = all(Format::Ndjson, b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"b\":2}");
        assert_eq!(found, [(1, Ok("{\"a\":1}".to_owned())), (4, Ok("{\"b\":2}".to_owned()))]);
    }

    #[test]
    fn a_record_becomes_a_purchase_whatever_the_order_of_columns() {
        let text =
            b"currency,amount,note,timestamp,itemId,userId,eventId\nEUR,12.30,\"a, b\",2026-01-01T00:00:00Z,10,7,\"order \"\"1\"\"\"\n";
        let found = all(Format::Csv, text);
        let purchase: serde_json::Value = serde_json::from_str(found[0].1.as_ref().unwrap()).unwrap();
        let expected = json!({
            "eventId": "order \"1\"", "userId": "7", "itemId": "10",
            "amount": { "value": "12.30", "currency": "EUR" }, "timestamp": "2026-01-01T00:00:00Z",
        });
        assert_eq!((found[0].0, purchase), (2, expected));
    }

    #[test]
    fn a_record_that_cannot_be_one_is_refused_alone() {
        let header = "eventId,userId,itemId,amount,currency,timestamp\n";
        let good = "1,7,10,12.30,EUR,2026-01-01T00:00:00Z\n";
        let text = [header.as_bytes(), b"1,7\n", good.as_bytes(), b"\xff,7,10,1.00,EUR,x\n"].concat();
        let found = all(Format::Csv, &text);
        assert_eq!(found[0], (2, Err("the line has 2 fields, and so no itemId".to_owned())));
        assert!(found[1].1.is_ok());
        assert_eq!(found[2], (4, Err("the line is not UTF-8".to_owned())));
    }

    #[test]
    fn missing_columns_are_named() {
        let missing = |text: &[u8]| match Lines::new(Cursor::new(text.to_vec()), Format::Csv) {
            Err(HeaderError::Missing(missing)) => missing,
            _ => panic!("no header is missing"),
        };
        assert_eq!(missing(b"eventId,userid,itemId,amount,currency\n1,2,3,4,5\n"), "userId, timestamp");
        assert_eq!(missing(b""), COLUMNS.join(", "));
    }

    #[test]
    fn a_line_without_end_is_refused_and_the_next_one_read() {
        let text = [vec![b'x'; 3 * MAX_LINE], b"\n{}\n".to_vec()].concat();
        let found = all(Format::Ndjson, &text);
        assert!(found[0].1.as_ref().unwrap_err().contains("longer than"));
        assert_eq!(found[1], (2, Ok("{}".to_owned())));
        assert_eq!(all(Format::Ndjson, &vec![b'x'; MAX_LINE]).len(), 1);
        assert!(all(Format::Ndjson, &vec![b'x'; MAX_LINE])[0].1.is_ok());
    }

    #[test]
    fn it_goes_on_where_it_stopped() {
        for (format, text) in [
            (Format::Ndjson, "1\n\n2\n3\n".to_owned()),
            (Format::Csv, format!("{}\n1,1,1,1,1,1\n2,2,2,2,2,2\n3,3,3,3,3,3\n", COLUMNS.join(","))),
        ] {
            let mut first = lines(format, text.as_bytes());
            first.next().unwrap();
            let place = first.place();
            let mut second = lines(format, text.as_bytes());
            second.go_to(place).unwrap();
            loop {
                let (left, right) = (first.next().unwrap(), second.next().unwrap());
                assert_eq!(left, right);
                if left.is_none() {
                    break;
                }
            }
        }
    }
}
