//! How a value lies in a tree: checksum, sequence number, payload.
//!
//! The CRC32 covers the tree, the key, the number and the payload, so a flipped bit and a value under a wrong
//! key are both found. The number grows with every change; the highest that is left tells whether the tail of
//! the store was lost. Nothing that comes out of sled is used before [`open`] has accepted it.

use crate::key::Space;

/// Bytes in front of the payload.
pub(crate) const HEADER_BYTES: usize = 12;

/// A record that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) seq: u64,
    pub(crate) payload: &'a [u8],
}

/// The bytes to store for `payload` under `key`.
pub(crate) fn seal(space: Space, key: &[u8], seq: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&checksum(space, key, seq, payload).to_be_bytes());
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The record in `bytes`, or why it cannot be one that was stored under `key`.
pub(crate) fn open<'a>(space: Space, key: &[u8], bytes: &'a [u8]) -> Result<Record<'a>, String> {
    let name = || space.describe(key);
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("record {} is torn: {} B", name(), bytes.len()));
    };
    let [a, b, c, d, seq @ ..] = *header;
    let stored = u32::from_be_bytes([a, b, c, d]);
    let seq = u64::from_be_bytes(seq);
    let actual = checksum(space, key, seq, payload);
    if stored != actual {
        return Err(format!("record {} has checksum {actual:08x}, stored {stored:08x}", name()));
    }
    Ok(Record { seq, payload })
}

fn checksum(space: Space, key: &[u8], seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[space.tag()]);
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(&seq.to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_sealed() {
        let bytes = seal(Space::Meta, b"vote", 9, b"payload");
        assert_eq!(open(Space::Meta, b"vote", &bytes), Ok(Record { seq: 9, payload: b"payload" }));
    }

    #[test]
    fn every_single_flipped_bit_is_found_and_the_key_named() {
        let bytes = seal(Space::Meta, b"vote", 9, b"payload");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let why = open(Space::Meta, b"vote", &flipped).unwrap_err();
            assert!(why.contains("meta/vote"), "{why}");
        }
    }

    #[test]
    fn a_record_under_a_wrong_key_or_tree_is_refused() {
        let bytes = seal(Space::Meta, b"vote", 9, b"payload");
        assert!(open(Space::Meta, b"purged", &bytes).is_err());
        assert!(open(Space::State, b"vote", &bytes).is_err());
    }

    #[test]
    fn a_torn_record_is_refused() {
        let bytes = seal(Space::Log, b"123456789", 9, b"payload");
        for len in 0..bytes.len() {
            assert!(open(Space::Log, b"123456789", &bytes[..len]).is_err());
        }
    }
}
