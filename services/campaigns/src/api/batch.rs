//! Reading a batch: every line by itself, so that a bad one is refused alone.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tenantry_kit::http::parse_json;
use tenantry_kit::problem::{INVALID_BODY, MALFORMED_JSON, Problem};

use super::problems::BATCH_TOO_LARGE;
use super::purchases::PurchaseBody;
use crate::domain::{EventId, Purchase, PurchaseRules};

/// A purchase of a batch.
#[derive(Debug)]
pub(super) struct Line {
    /// Its line or its place, counted from 1.
    pub(super) number: usize,
    /// What is there.
    pub(super) content: Result<Purchase, Problem>,
}

/// A purchase of a batch that is refused.
#[derive(Debug)]
pub(super) struct LineRefusal {
    pub(super) number: usize,
    pub(super) event_id: Option<EventId>,
    pub(super) problem: Problem,
}

/// Whether a JSON body is an array, by its first character.
pub(super) fn is_array(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'[')
}

/// Reads one purchase on each line. Blank lines count as lines, not as purchases.
pub(super) fn read_lines(body: &[u8]) -> Result<Vec<Line>, Problem> {
    let lines = body.split(|byte| *byte == b'\n').zip(1..).map(|(line, number)| (number, line.trim_ascii()));
    let mut purchases = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        if purchases.len() == PurchaseRules::MAX_BATCH {
            return Err(too_large());
        }
        purchases.push(read(number, line));
    }
    not_empty(purchases)
}

/// Reads an array of purchases. What is not JSON at all is refused as a whole.
pub(super) fn read_array(body: &[u8]) -> Result<Vec<Line>, Problem> {
    let malformed = |error: serde_json::Error| Problem::new(MALFORMED_JSON, error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let Elements { texts, is_cut } = deserializer.deserialize_seq(ElementsVisitor).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    if is_cut {
        return Err(too_large());
    }
    not_empty(texts.into_iter().zip(1..).map(|(text, number)| read(number, text.get().as_bytes())).collect())
}

fn read(number: usize, text: &[u8]) -> Line {
    Line { number, content: parse_json::<PurchaseBody>(text).map(Purchase::from) }
}

fn not_empty(purchases: Vec<Line>) -> Result<Vec<Line>, Problem> {
    if purchases.is_empty() {
        let detail = "the batch is empty: send at least one purchase";
        return Err(Problem::new(INVALID_BODY, detail).with_error("", detail));
    }
    Ok(purchases)
}

fn too_large() -> Problem {
    let detail = format!("a batch has at most {} purchases: nothing of it was taken, send it in parts", PurchaseRules::MAX_BATCH);
    Problem::new(BATCH_TOO_LARGE, detail)
}

/// The elements of an array as they are written, at most as many as a batch has.
struct Elements<'a> {
    texts: Vec<&'a RawValue>,
    is_cut: bool,
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of purchases")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Elements<'de>, A::Error> {
        let mut texts = Vec::new();
        while texts.len() < PurchaseRules::MAX_BATCH {
            match elements.next_element::<&'de RawValue>()? {
                Some(text) => texts.push(text),
                None => return Ok(Elements { texts, is_cut: false }),
            }
        }
        let mut is_cut = false;
        while elements.next_element::<IgnoredAny>()?.is_some() {
            is_cut = true;
        }
        Ok(Elements { texts, is_cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purchase(event_id: &str) -> String {
        format!(
            r#"{{"eventId":"{event_id}","userId":"1","itemId":"2","amount":{{"value":"1.00","currency":"EUR"}},"timestamp":"2026-01-01T00:00:00Z"}}"#
        )
    }

    /// The number of each line, and its event id or the problem's detail.
    fn shown(lines: Result<Vec<Line>, Problem>) -> Vec<(usize, String)> {
        let content = |content: Result<Purchase, Problem>| match content {
            Ok(purchase) => purchase.event_id.to_string(),
            Err(problem) => problem.detail().to_owned(),
        };
        lines.unwrap().into_iter().map(|line| (line.number, content(line.content))).collect()
    }

    fn detail(lines: Result<Vec<Line>, Problem>) -> String {
        lines.unwrap_err().detail().to_owned()
    }

    #[test]
    fn lines_are_numbered_as_an_editor_shows_them() {
        let text = format!("{}\n\n  \r\n{}\r\n", purchase("a"), purchase("b"));
        assert_eq!(shown(read_lines(text.as_bytes())), [(1, "a".to_owned()), (4, "b".to_owned())]);
    }

    #[test]
    fn the_elements_of_an_array_are_numbered_from_1() {
        let text = format!(" [{},\n{}] ", purchase("a"), purchase("b"));
        assert!(is_array(text.as_bytes()));
        assert_eq!(shown(read_array(text.as_bytes())), [(1, "a".to_owned()), (2, "b".to_owned())]);
    }

    #[test]
    fn a_bad_line_is_refused_alone() {
        let text = format!("{}\n{{\"eventId\":7}}\nnot json\n{}", purchase("a"), purchase("b"));
        let lines = shown(read_lines(text.as_bytes()));
        assert!(lines[1].1.starts_with("/eventId: invalid type"), "{lines:?}");
        assert_eq!((lines[0].1.as_str(), lines[3].1.as_str()), ("a", "b"));
        let array = format!("[{}, 7, {{}}]", purchase("a"));
        assert_eq!(shown(read_array(array.as_bytes())).len(), 3);
    }

    #[test]
    fn what_is_not_json_is_refused_as_a_whole_in_an_array_and_alone_in_a_line() {
        assert!(read_array(b"[1, 2").is_err() && read_array(b"[1] 2").is_err());
        assert!(read_array(b"[\"\xff\"]").is_err());
        let mut text = purchase("a").into_bytes();
        text.extend_from_slice(b"\n{\"eventId\":\"\xff\"}");
        let lines = read_lines(&text).unwrap();
        assert!(lines[0].content.is_ok() && lines[1].content.is_err());
    }

    #[test]
    fn a_batch_has_at_least_one_purchase_and_at_most_ten_thousand() {
        assert!(detail(read_lines(b"\n \n")).contains("empty") && detail(read_array(b"[]")).contains("empty"));
        let array = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert_eq!(read_array(array(10_000).as_bytes()).unwrap().len(), 10_000);
        assert!(detail(read_array(array(10_001).as_bytes())).contains("at most 10000"));
        assert_eq!(read_lines("0\n".repeat(10_000).as_bytes()).unwrap().len(), 10_000);
        assert!(detail(read_lines("0\n".repeat(10_001).as_bytes())).contains("at most 10000"));
    }
}
