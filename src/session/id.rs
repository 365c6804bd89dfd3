//! Session ids: `<node>.<random>`, so that any node can tell where a session lives.
//!
//! 160 random bits: an id cannot be guessed. It names a session and is never by itself a proof of who sends
//! it.

use std::sync::Arc;

use crate::random;

/// Longest id that is looked up at all.
pub const ID_LENGTH_MAX: usize = 128;
const RANDOM_BYTES: usize = 20;

/// A new id of a session whose home is `node_id`.
#[must_use]
pub fn mint(node_id: u64) -> Arc<str> {
    format!("{node_id}.{}", random::hex::<RANDOM_BYTES>()).into()
}

/// The home node that `id` names; `None` if it is not of our form.
#[must_use]
pub fn home(id: &str) -> Option<u64> {
    if id.len() > ID_LENGTH_MAX {
        return None;
    }
    let (node, random) = id.split_once('.')?;
    let is_random = random.len() == 2 * RANDOM_BYTES && random.bytes().all(|b| b.is_ascii_hexdigit());
    is_random.then(|| node.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_visible_ascii_names_its_home_and_is_never_the_same() {
        let (one, two) = (mint(7), mint(7));
        assert!(one.bytes().all(|b| (0x21..=0x7e).contains(&b)), "{one}");
        assert_eq!(home(&one), Some(7));
        assert_ne!(one, two);
        assert!(one.len() - "7.".len() >= 128 / 4, "{one} has fewer than 128 random bits");
    }

    #[test]
    fn what_is_not_of_our_form_has_no_home() {
        for bad in
            ["", "7", "7.", "x.00", "7.zz", &"1".repeat(1000), "7.0000000000000000000000000000000000000000ff"]
        {
            assert_eq!(home(bad), None, "{bad}");
        }
    }
}
