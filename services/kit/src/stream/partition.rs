//! Which partition a key belongs to. This must never change: events of one key are in order only within a partition.

/// The partition of `key` among `partitions`, which must not be 0: FNV-1a over the key's bytes, mixed (a plain FNV's low bits follow the
/// last byte), modulo the number of partitions.
#[must_use]
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // The finalizer of SplitMix64.
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let hash = hash ^ (hash >> 31);
    u32::try_from(hash % u64::from(partitions.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::partition_of;

    #[test]
    fn a_key_stays_in_its_partition_for_ever() {
        let golden = [("", 8, 3), ("1", 8, 7), ("4711", 16, 2), ("9223372036854775807", 16, 12), ("Grüße", 3, 2)];
        for (key, partitions, partition) in golden {
            assert_eq!(partition_of(key, partitions), partition, "{key}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_a_partition_that_exists(key in ".*", partitions in 1_u32..=256) {
            prop_assert!(partition_of(&key, partitions) < partitions);
        }

        #[test]
        fn keys_that_are_numbered_spread_evenly(first in 0_u64..1_000_000_000_000, partitions in 2_u32..=32) {
            let mut counts = vec![0_u32; partitions as usize];
            for number in first..first + 200 * u64::from(partitions) {
                counts[partition_of(&number.to_string(), partitions) as usize] += 1;
            }
            prop_assert!(counts.iter().all(|count| (100..=320).contains(count)), "{counts:?}");
        }
    }
}
