//! Random bytes of the operating system, for what nobody may guess or foresee.

use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom as _, SystemRandom};

/// `N` random bytes.
///
/// # Panics
/// When the system has none: nothing secret can be made then.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    assert!(SystemRandom::new().fill(&mut bytes).is_ok(), "the system has no random bytes");
    bytes
}

/// `N` random bytes as lower-case hexadecimal digits.
///
/// # Panics
/// As [`bytes()`].
#[must_use]
pub fn hex<const N: usize>() -> String {
    HEXLOWER.encode(&bytes::<N>())
}
