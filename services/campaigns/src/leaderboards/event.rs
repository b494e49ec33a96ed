//! What viewers get: the whole, and what changed since, each as the text of one server-sent event whose id is the version.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::Serialize;
use tenantry_kit::money::Money;

use crate::domain::{CampaignId, Standing, UserId, UserName};

/// How many events can be gone on after, and how many bytes they may have together.
const RECENT_EVENTS: usize = 256;
const RECENT_BYTES: usize = 1024 * 1024;

/// The first positions of a campaign at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Which campaign.
    pub campaign_id: CampaignId,
    /// The version of its results.
    pub version: i64,
    /// How many users have purchases that count.
    pub users: usize,
    /// From first to last.
    pub places: Vec<Place>,
}

/// A place of a leaderboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Counted from 0.
    pub position: u64,
    /// Counted from 1.
    pub rank: u64,
    /// Who.
    pub user_id: UserId,
    /// What they are called, if that is known.
    #[serde(serialize_with = "name")]
    pub name: Option<UserName>,
    /// What they have spent.
    pub total: Money,
}

fn name<S: serde::Serializer>(name: &Option<UserName>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(UserName::as_str).serialize(serializer)
}

impl Place {
    /// A standing with a name.
    pub fn new(standing: Standing, name: Option<UserName>) -> Self {
        let Standing { user_id, position, rank, total } = standing;
        Self { position, rank, user_id, name, total }
    }
}

/// The event `snapshot`: everything that is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot<'a> {
    campaign_id: CampaignId,
    version: String,
    users: usize,
    positions: &'a [Place],
}

/// The event `changes`: each position replaces the one of its number; those from `length` on are gone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changes<'a> {
    campaign_id: CampaignId,
    /// The event's sequence is that of versions: this one comes after the event with this version.
    after: String,
    version: String,
    users: usize,
    length: usize,
    positions: Vec<&'a Place>,
}

/// The event `position`: where one user stands, or that they have no purchase that counts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Own {
    campaign_id: CampaignId,
    version: String,
    user_id: UserId,
    position: Option<u64>,
    rank: Option<u64>,
    total: Option<Money>,
}

pub(super) fn own(campaign_id: CampaignId, version: i64, user_id: UserId, standing: Option<Standing>) -> Bytes {
    let own = Own {
        campaign_id,
        version: version.to_string(),
        user_id,
        position: standing.map(|standing| standing.position),
        rank: standing.map(|standing| standing.rank),
        total: standing.map(|standing| standing.total),
    };
    written("position", version, &own)
}

fn written(kind: &str, version: i64, data: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(data).expect("ids, texts and amounts always serialise");
    format!("event: {kind}\nid: {version}\ndata: {json}\n\n").into()
}

impl Shown {
    fn whole(&self) -> Bytes {
        let Self { campaign_id, version, users, places } = self;
        written(
            "snapshot",
            *version,
            &Snapshot { campaign_id: *campaign_id, version: version.to_string(), users: *users, positions: places },
        )
    }

    /// What makes `before` this; `None` if it shows the same.
    fn changes_since(&self, before: &Self) -> Option<Bytes> {
        let is_new = |place: &&Place| before.places.get(place.position as usize) != Some(place);
        let positions: Vec<&Place> = self.places.iter().filter(is_new).collect();
        if positions.is_empty() && (self.users, self.places.len()) == (before.users, before.places.len()) {
            return None;
        }
        let changes = Changes {
            campaign_id: self.campaign_id,
            after: before.version.to_string(),
            version: self.version.to_string(),
            users: self.users,
            length: self.places.len(),
            positions,
        };
        Some(written("changes", self.version, &changes))
    }
}

/// What is shown now, and the events that led to it.
#[derive(Debug)]
pub(super) struct Recent {
    shown: Shown,
    whole: Bytes,
    /// Each with the version that it comes after.
    events: VecDeque<(i64, Bytes)>,
    bytes: usize,
}

impl Recent {
    pub(super) fn new(shown: Shown) -> Self {
        Self { whole: shown.whole(), shown, events: VecDeque::new(), bytes: 0 }
    }

    /// Shows this from now on; the event that says so, if there is anything new to see.
    pub(super) fn advance(&mut self, mut shown: Shown) -> Option<Bytes> {
        let before = self.shown.version;
        if shown.version <= before {
            // At most names changed. An event has a version as its id, and this one was sent: newcomers get the names, others with the next
            // version that shows something new.
            shown.version = before;
            self.whole = shown.whole();
            return None;
        }
        let event = shown.changes_since(&self.shown)?;
        self.whole = shown.whole();
        self.shown = shown;
        self.bytes += event.len();
        self.events.push_back((before, event.clone()));
        while self.events.len() > RECENT_EVENTS || self.bytes > RECENT_BYTES {
            let Some((_, oldest)) = self.events.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        Some(event)
    }

    /// What somebody needs whose last event was `last`: the events after it, or the whole.
    pub(super) fn since(&self, last: Option<i64>) -> Vec<Bytes> {
        if last == Some(self.shown.version) {
            return Vec::new();
        }
        match last.and_then(|last| self.events.iter().position(|(after, _)| *after == last)) {
            Some(first) => self.events.range(first..).map(|(_, event)| event.clone()).collect(),
            None => vec![self.whole.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;
    use serde_json::Value;
    use tenantry_kit::currency::Currency;

    use super::*;

    fn shown(version: i64, users: &[i64]) -> Shown {
        let place = |(user, position): (&i64, u64)| {
            let total = Money::new(Decimal::new(1000 - position as i64, 2), Currency::EUR).unwrap();
            Place::new(Standing { user_id: UserId::new(*user).unwrap(), position, rank: position + 1, total }, None)
        };
        let places = users.iter().zip(0..).map(place).collect();
        Shown { campaign_id: CampaignId::new(42).unwrap(), version, users: users.len(), places }
    }

    /// A viewer, as simple as one can be.
    #[derive(Default)]
    struct Page {
        version: Option<i64>,
        users: Vec<String>,
    }

    impl Page {
        fn receive(&mut self, events: Vec<Bytes>) {
            for event in events {
                let text = std::str::from_utf8(&event).unwrap();
                let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                let data: Value = serde_json::from_str(line("data: ")).unwrap();
                let positions = data["positions"].as_array().unwrap();
                let user = |place: &Value| place["userId"].as_str().unwrap().to_owned();
                if line("event: ") == "snapshot" {
                    self.users = positions.iter().map(user).collect();
                } else {
                    assert_eq!(data["after"].as_str().unwrap(), self.version.unwrap().to_string());
                    self.users.resize(data["length"].as_u64().unwrap() as usize, String::new());
                    for place in positions {
                        self.users[place["position"].as_u64().unwrap() as usize] = user(place);
                    }
                }
                self.version = Some(line("id: ").parse().unwrap());
            }
        }
    }

    #[test]
    fn who_has_the_last_event_gets_nothing_and_who_has_an_unknown_one_gets_the_whole() {
        let mut recent = Recent::new(shown(5, &[1, 2]));
        assert_eq!(recent.since(Some(5)), Vec::<Bytes>::new());
        let change = recent.advance(shown(8, &[2, 1])).unwrap();
        assert_eq!(recent.since(Some(5)), [change]);
        for unknown in [None, Some(4), Some(6), Some(9), Some(-1)] {
            assert_eq!(recent.since(unknown), [shown(8, &[2, 1]).whole()], "{unknown:?}");
        }
    }

    #[test]
    fn a_version_that_shows_the_same_makes_no_event_and_the_next_one_follows_the_last_event() {
        let mut recent = Recent::new(shown(5, &[1, 2]));
        assert_eq!(recent.advance(shown(6, &[1, 2])), None);
        let change = recent.advance(shown(7, &[1, 2, 3])).unwrap();
        assert_eq!(recent.since(Some(5)), [change]);
    }

    #[test]
    fn what_is_kept_of_events_is_bounded() {
        let mut recent = Recent::new(shown(0, &[]));
        let users: Vec<i64> = (1..=100).collect();
        for version in 1..1000 {
            recent.advance(shown(version, &users[version as usize % 2..])).unwrap();
            assert!(recent.events.len() <= RECENT_EVENTS && recent.bytes <= RECENT_BYTES);
        }
        assert_eq!(recent.bytes, recent.events.iter().map(|(_, event)| event.len()).sum::<usize>());
    }

    proptest! {
        #[test]
        fn a_viewer_that_comes_and_goes_sees_what_is_shown(
            versions in proptest::collection::vec(proptest::collection::vec(1i64..6, 0..6), 1..60),
            looks in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let mut recent = Recent::new(shown(0, &[]));
            let mut page = Page::default();
            for ((users, version), looks) in versions.iter().zip(1..).zip(&looks) {
                recent.advance(shown(version, users));
                if *looks {
                    page.receive(recent.since(page.version));
                    prop_assert_eq!(&page.users, &users.iter().map(i64::to_string).collect::<Vec<_>>());
                }
            }
        }
    }
}
