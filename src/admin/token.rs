//! The operator's token: who holds the file may act on the cluster.
//!
//! The file is made by `init` (0600) and read once at start. Compared in constant time; never logged, never
//! shown.

use std::path::{Path, PathBuf};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use ring::hmac;
use ring::rand::SystemRandom;

/// Why the token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the admin token {path}: {source}; `erlmcp-node init` makes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// The file system's answer.
        source: std::io::Error,
    },
    /// Empty files would let anyone in.
    #[error(
        "the admin token {path} is shorter than {TOKEN_BYTES_MIN} characters; delete it and run \
         `erlmcp-node init`"
    )]
    Short {
        /// The file.
        path: PathBuf,
    },
}

/// A shorter token could be guessed.
pub const TOKEN_BYTES_MIN: usize = 32;

/// The token, kept only as a tag under a key of this process.
pub struct AdminToken {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl AdminToken {
    /// Reads the token of `path`.
    ///
    /// # Errors
    /// [`TokenError`] with the file.
    pub fn open(path: &Path) -> Result<AdminToken, TokenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
        let token = text.trim();
        if token.len() < TOKEN_BYTES_MIN {
            return Err(TokenError::Short { path: path.to_owned() });
        }
        Ok(AdminToken::from_text(token))
    }

    fn from_text(token: &str) -> AdminToken {
        let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) else {
            unreachable!("the system has no random bytes")
        };
        let tag = hmac::sign(&key, token.as_bytes());
        AdminToken { key, tag }
    }

    /// Whether the request carries `Authorization: Bearer <token>`.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = presented
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        token.is_some_and(|(_, token)| {
            hmac::verify(&self.key, token.trim().as_bytes(), self.tag.as_ref()).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(header: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        AdminToken::from_text("0123456789abcdef0123456789abcdef").admits(&headers)
    }

    #[test]
    fn only_the_whole_token_as_bearer_is_admitted() {
        assert!(admits("Bearer 0123456789abcdef0123456789abcdef"));
        assert!(admits("bearer 0123456789abcdef0123456789abcdef"));
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdef0123456789abcde",
            "Basic 0123456789abcdef0123456789abcdef",
        ] {
            assert!(!admits(wrong), "{wrong} was admitted");
        }
        assert!(!AdminToken::from_text("0123456789abcdef0123456789abcdef").admits(&HeaderMap::new()));
    }

    #[test]
    fn a_short_token_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "short\n").unwrap();
        assert!(matches!(AdminToken::open(file.path()), Err(TokenError::Short { .. })));
    }
}
