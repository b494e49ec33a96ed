//! What a batch is made of: the next events of one partition or several.

use super::Event;

/// A batch that is not empty.
#[derive(Debug)]
pub(super) struct Batch(Vec<Part>);

/// The events of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) partition: i32,
    /// The position of the first.
    pub(super) first: i64,
    /// The position of the last.
    pub(super) last: i64,
    /// How many.
    pub(super) events: u32,
}

impl Batch {
    /// What these are, which come partition after partition; `None` if there are none.
    pub(super) fn of(events: &[Event]) -> Option<Self> {
        let mut parts: Vec<Part> = Vec::new();
        for &Event { partition, position, .. } in events {
            match parts.last_mut() {
                Some(part) if part.partition == partition => {
                    part.last = position;
                    part.events += 1;
                }
                _ => parts.push(Part { partition, first: position, last: position, events: 1 }),
            }
        }
        (!parts.is_empty()).then_some(Self(parts))
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// How many events.
    pub(super) fn events(&self) -> u32 {
        self.0.iter().map(|part| part.events).sum()
    }

    /// What is of `partition`.
    pub(super) fn part(&self, partition: i32) -> Option<Part> {
        self.0.iter().copied().find(|part| part.partition == partition)
    }

    /// The part, if it is the only one.
    pub(super) fn only(&self) -> Option<Part> {
        match self.0[..] {
            [only] => Some(only),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UtcDateTime;

    fn event(partition: i32, position: i64) -> Event {
        let appended_at = UtcDateTime::from_unix_micros(0).unwrap();
        Event { partition, position, appended_at, key: String::new(), payload: String::new() }
    }

    #[test]
    fn a_batch_knows_what_is_of_which_partition() {
        assert!(Batch::of(&[]).is_none());
        let batch = Batch::of(&[event(3, 7), event(3, 8), event(0, 1)]).unwrap();
        let parts = [Part { partition: 3, first: 7, last: 8, events: 2 }, Part { partition: 0, first: 1, last: 1, events: 1 }];
        assert_eq!(batch.parts(), parts);
        assert_eq!(batch.events(), 3);
        assert_eq!((batch.part(0), batch.part(1), batch.only()), (Some(parts[1]), None, None));
        assert_eq!(Batch::of(&[event(0, 1)]).unwrap().only(), Some(parts[1]));
    }
}
