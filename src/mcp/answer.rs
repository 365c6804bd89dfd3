//! Members that the modern era wants on every result: `resultType`, the server's name, and how long a list
//! may be kept.

use serde_json::value::RawValue;

use super::{RawObject, raw};

/// Adds `resultType` (if missing) and `_meta["io.modelcontextprotocol/serverInfo"]` (always ours) to a modern
/// result.
///
/// A result that is no object is returned as it is.
#[must_use]
pub fn add_server_meta(result: &RawValue, server_info: &RawValue) -> Box<RawValue> {
    let Ok(mut members) = RawObject::parse(result.get()) else { return result.to_owned() };
    if members.get("resultType").is_none() {
        members.set("resultType", raw("complete"));
    }
    let mut meta = match members.get("_meta") {
        Some(meta) => RawObject::parse(meta.get()).unwrap_or_default(),
        None => RawObject::new(),
    };
    meta.set("io.modelcontextprotocol/serverInfo", server_info.to_owned());
    members.set("_meta", meta.to_raw());
    members.to_raw()
}

/// Adds `ttlMs` and `cacheScope` to a list or a resource's contents where they are missing.
#[must_use]
pub fn add_cache_meta(result: &RawValue, ttl_ms: u64, cache_scope: &str) -> Box<RawValue> {
    let Ok(mut members) = RawObject::parse(result.get()) else { return result.to_owned() };
    if members.get("ttlMs").is_none() {
        members.set("ttlMs", raw(&ttl_ms));
    }
    if members.get("cacheScope").is_none() {
        members.set("cacheScope", raw(cache_scope));
    }
    members.to_raw()
}
