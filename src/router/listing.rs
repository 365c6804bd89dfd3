//! One page of a merged list.

use serde_json::value::RawValue;

use crate::mcp::{List, ListKind, RawObject, RpcError, raw};

/// Entries on one page. Most servers fit on one; it bounds the size of an answer.
pub(super) const PAGE_ITEMS_MAX: usize = 1000;

/// The page of `list` that `cursor` asks for.
///
/// # Errors
/// -32602 for a cursor that is not one of ours.
pub(super) fn page(kind: ListKind, list: &List, cursor: Option<&str>) -> Result<Box<RawValue>, RpcError> {
    let start = match cursor {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix("at-")
            .and_then(|at| at.parse::<usize>().ok())
            .filter(|at| *at <= list.items.len())
            .ok_or_else(|| RpcError::invalid_params(format!("unknown cursor {cursor:?}")))?,
    };
    let rest = &list.items[start..];
    let shown = &rest[..rest.len().min(PAGE_ITEMS_MAX)];
    let mut result = RawObject::new();
    result.set(kind.member(), raw(&shown.iter().map(|item| &*item.raw).collect::<Vec<_>>()));
    if rest.len() > shown.len() {
        result.set("nextCursor", raw(&format!("at-{}", start + shown.len())));
    }
    Ok(result.to_raw())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mcp::Item;

    #[test]
    fn pages_cover_the_list_once_and_end() {
        let item = |n: usize| Item { key: n.to_string().into(), raw: Arc::from(raw(&n)) };
        let list = List { version: 1, items: (0..PAGE_ITEMS_MAX * 2 + 1).map(item).collect() };
        let (mut cursor, mut seen) = (None::<String>, Vec::new());
        for _ in 0..3 {
            let result =
                RawObject::parse(page(ListKind::Tools, &list, cursor.as_deref()).unwrap().get()).unwrap();
            seen.extend(result.read::<Vec<usize>>("tools").unwrap().unwrap());
            cursor = result.text("nextCursor");
        }
        assert_eq!(cursor, None);
        assert_eq!(seen, (0..PAGE_ITEMS_MAX * 2 + 1).collect::<Vec<_>>());
        assert_eq!(page(ListKind::Tools, &list, Some("nonsense")).unwrap_err().code, -32602);
    }
}
