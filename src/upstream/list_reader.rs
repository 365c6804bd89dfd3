//! Reader of an upstream's four lists, page by page to the end, in its order.
//!
//! An upstream is not trusted to end: pages and entries are bounded, and a cursor that comes twice ends the
//! list.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;

use serde_json::value::RawValue;

use crate::mcp::{Item, ListKind, RawObject, RpcError, code};

use super::catalog_store::{KINDS, Lists, ServerDescription};
use super::options::UpstreamOptions;

/// Most pages read of one list.
const PAGES_MAX: usize = 1_000;
/// Most entries kept of one list.
const ITEMS_MAX: usize = 10_000;

/// Status of faults that mean: the upstream could not be reached, or did not answer. Never sent to a client.
pub(super) const UNREACHABLE: u16 = 502;

/// The answer to a request of our own.
pub(super) type RpcFuture<'a> = Pin<Box<dyn Future<Output = Result<Box<RawValue>, RpcError>> + Send + 'a>>;

/// One who can put our own requests to an upstream, each in bounded time.
pub(super) trait RpcClient: Sync {
    /// Asks and waits for the result.
    fn ask<'a>(&'a self, method: &'a str, params: RawObject) -> RpcFuture<'a>;
}

/// Reads those of `kinds` that `greeting` declares into `lists`, whole; tools only as far as `options`
/// admit them.
///
/// # Errors
/// The list that could not be read, and why.
pub(super) async fn collect(
    rpc: &dyn RpcClient,
    description: &ServerDescription,
    options: &UpstreamOptions,
    kinds: &[ListKind],
    lists: &mut Lists,
) -> Result<(), String> {
    for (kind, items) in KINDS.iter().zip(lists.iter_mut()).filter(|(kind, _)| kinds.contains(kind)) {
        if !description.offers(kind.capability()) {
            items.clear();
        } else if let Some(read) = collect_one(rpc, *kind).await? {
            *items = read;
        }
    }
    lists[0].retain(|tool| options.admits(&tool.key));
    Ok(())
}

/// `None`: the upstream answers with an error, and what was read before stays.
async fn collect_one(rpc: &dyn RpcClient, kind: ListKind) -> Result<Option<Vec<Item>>, String> {
    let method = kind.method();
    let (mut items, mut keys, mut cursors) = (Vec::new(), HashSet::new(), HashSet::new());
    let mut params = RawObject::new();
    for _ in 0..PAGES_MAX {
        let result = match rpc.ask(&method, params).await {
            Ok(result) => result,
            // Resources are often offered without templates.
            Err(fault) if fault.code == code::METHOD_NOT_FOUND && kind == ListKind::Templates => break,
            Err(fault) if fault.status == UNREACHABLE => return Err(fault.message),
            Err(fault) => {
                let (list, fault) = (method.as_str(), &fault.message);
                tracing::warn!(list, ?fault, "a list of an upstream cannot be read");
                return Ok(None);
            }
        };
        let page = RawObject::parse(result.get()).map_err(|error| format!("{method}: {error}"))?;
        let entries: Vec<Box<RawValue>> = page
            .read(kind.member())
            .map_err(|error| format!("{method}: {}: {error}", kind.member()))?
            .unwrap_or_default();
        for item in entries.iter().filter_map(|entry| Item::read(kind, entry)) {
            if items.len() < ITEMS_MAX && keys.insert(item.key.clone()) {
                items.push(item);
            }
        }
        let Some(cursor) = page.get("nextCursor").filter(|cursor| cursor.get() != "null") else { break };
        if items.len() >= ITEMS_MAX || !cursors.insert(cursor.get().to_owned()) {
            tracing::warn!(
                list = method.as_str(),
                entries = items.len(),
                "an upstream's list has no end; it was cut"
            );
            break;
        }
        params = RawObject::new();
        params.set("cursor", cursor.to_owned());
    }
    Ok(Some(items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Pages {
        asked: AtomicUsize,
        answer: fn(usize, &str) -> Result<String, RpcError>,
    }

    impl RpcClient for Pages {
        fn ask<'a>(&'a self, method: &'a str, _params: RawObject) -> RpcFuture<'a> {
            let at = self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = (self.answer)(at, method);
            Box::pin(async move { answer.map(|json| RawValue::from_string(json).unwrap()) })
        }
    }

    fn description(json: &str) -> ServerDescription {
        ServerDescription { offers: RawObject::parse(json).unwrap(), instructions: None }
    }

    async fn read(pages: &Pages, offers: &str) -> Lists {
        let mut lists = Lists::default();
        let options = UpstreamOptions::new(config::Upstream::new("up"), config::Gateway::default());
        let read = collect(pages, &description(offers), &options, &KINDS, &mut lists).await;
        read.unwrap();
        lists
    }

    #[tokio::test]
    async fn all_pages_are_read_in_their_order() {
        let pages = Pages {
            asked: AtomicUsize::new(0),
            answer: |at, _| {
                Ok(match at {
                    0 => r#"{"tools":[{"name":"b"},{"name":"a"}],"nextCursor":"2"}"#.into(),
                    _ => r#"{"tools":[{"name":"c"},{"name":"b"},7]}"#.into(),
                })
            },
        };
        let lists = read(&pages, r#"{"tools":{}}"#).await;
        let names: Vec<&str> = lists[0].iter().map(|item| &*item.key).collect();
        assert_eq!(names, ["b", "a", "c"]);
    }

    #[tokio::test]
    async fn a_cursor_that_comes_twice_ends_the_list() {
        let pages = Pages {
            asked: AtomicUsize::new(0),
            answer: |at, _| Ok(format!(r#"{{"tools":[{{"name":"t{at}"}}],"nextCursor":"same"}}"#)),
        };
        let lists = read(&pages, r#"{"tools":{}}"#).await;
        assert_eq!((lists[0].len(), pages.asked.load(Ordering::Relaxed)), (2, 2));
    }

    #[tokio::test]
    async fn resources_without_templates_are_fine_and_undeclared_lists_are_not_asked() {
        let pages = Pages {
            asked: AtomicUsize::new(0),
            answer: |_, method| match method {
                "resources/list" => Ok(r#"{"resources":[{"uri":"a:b"}]}"#.into()),
                _ => Err(RpcError::new(code::METHOD_NOT_FOUND, "no")),
            },
        };
        let lists = read(&pages, r#"{"resources":{}}"#).await;
        assert_eq!((lists[2].len(), lists[3].len(), pages.asked.load(Ordering::Relaxed)), (1, 0, 2));
    }
}
