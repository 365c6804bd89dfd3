//! Pages of a merged list, each encoded once for each version of the list.

use std::sync::{Arc, OnceLock};

use serde_json::value::RawValue;

use crate::mcp::{List, ListKind, RawObject, RpcError, raw};

/// Entries on one page. Most servers fit on one; it bounds the size of an answer.
pub(super) const PAGE_ITEMS_MAX: usize = 1000;

/// The results of one list, encoded when they are first asked for.
#[derive(Default)]
pub(super) struct Pages {
    encoded: Vec<OnceLock<Arc<RawValue>>>,
}

impl Pages {
    /// Of `list`; nothing is encoded yet.
    pub(super) fn of(list: &List) -> Pages {
        let count = list.items.len().div_ceil(PAGE_ITEMS_MAX).max(1);
        Pages { encoded: std::iter::repeat_with(OnceLock::new).take(count).collect() }
    }

    /// The page of `list` that `cursor` asks for, as `stamp` completes it; `stamp` is always the same.
    ///
    /// # Errors
    /// -32602 for a cursor that is not one of ours.
    pub(super) fn page(
        &self,
        kind: ListKind,
        list: &List,
        cursor: Option<&str>,
        stamp: impl FnOnce(Box<RawValue>) -> Box<RawValue>,
    ) -> Result<Arc<RawValue>, RpcError> {
        let place = match cursor {
            None => Some(0),
            Some(cursor) => place_of(cursor),
        };
        let page = place.and_then(|place| Some((place, self.encoded.get(place)?)));
        let (place, encoded) =
            page.ok_or_else(|| RpcError::invalid_params(format!("unknown cursor {cursor:?}")))?;
        Ok(encoded.get_or_init(|| Arc::from(stamp(result(kind, list, place)))).clone())
    }
}

/// The page that a cursor names.
fn place_of(cursor: &str) -> Option<usize> {
    let at = cursor.strip_prefix("at-")?.parse::<usize>().ok()?;
    at.is_multiple_of(PAGE_ITEMS_MAX).then_some(at / PAGE_ITEMS_MAX)
}

fn result(kind: ListKind, list: &List, place: usize) -> Box<RawValue> {
    let start = place * PAGE_ITEMS_MAX;
    let rest = list.items.get(start..).unwrap_or_default();
    let shown = &rest[..rest.len().min(PAGE_ITEMS_MAX)];
    let mut result = RawObject::new();
    result.set(kind.member(), raw(&shown.iter().map(|item| &*item.raw).collect::<Vec<_>>()));
    if rest.len() > shown.len() {
        result.set("nextCursor", raw(&format!("at-{}", start + shown.len())));
    }
    result.to_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Item;

    #[test]
    fn pages_cover_the_list_once_and_end() {
        let item = |n: usize| Item { key: n.to_string().into(), raw: Arc::from(raw(&n)) };
        let list = List { version: 1, items: (0..PAGE_ITEMS_MAX * 2 + 1).map(item).collect() };
        let pages = Pages::of(&list);
        let page = |cursor: Option<&str>| pages.page(ListKind::Tools, &list, cursor, |result| result);
        let (mut cursor, mut seen) = (None::<String>, Vec::new());
        for _ in 0..3 {
            let result = RawObject::parse(page(cursor.as_deref()).unwrap().get()).unwrap();
            seen.extend(result.read::<Vec<usize>>("tools").unwrap().unwrap());
            cursor = result.text("nextCursor");
        }
        assert_eq!(cursor, None);
        assert_eq!(seen, (0..PAGE_ITEMS_MAX * 2 + 1).collect::<Vec<_>>());
        for wrong in ["nonsense", "at-1", "at-3000", "at-99999999999999999999"] {
            assert_eq!(page(Some(wrong)).unwrap_err().code, -32602, "{wrong}");
        }
    }

    #[test]
    fn a_page_is_encoded_once() {
        let list = List::default();
        let pages = Pages::of(&list);
        let first = pages.page(ListKind::Prompts, &list, None, |result| result).unwrap();
        let again = pages.page(ListKind::Prompts, &list, None, |_| unreachable!()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(first.get(), r#"{"prompts":[]}"#);
    }
}
