//! x
pub(in crate::upstream) fn connect() -> Result<(), String> { Ok(()) }
