//! Facts of the catalog about a request: whether it is offered, and whether it could be sent twice.

use crate::mcp::{Catalog, Era, Method, RawObject, Request};

/// Whether clients of `era` may send `method`, by the protocol and by what `catalog` offers.
pub(super) fn offered(catalog: &Catalog, era: Era, method: &Method) -> bool {
    method.is_in(era) && method.capability().is_none_or(|name| catalog.offers.0.get(name).is_some())
}

/// Whether the capability `name` has the flag `flag`: `tools.listChanged`, `resources.subscribe`, ...
pub(super) fn has_flag(catalog: &Catalog, name: &str, flag: &str) -> bool {
    let capability = catalog.offers.0.read::<RawObject>(name).ok().flatten();
    capability.is_some_and(|members| members.get(flag).is_some_and(|value| value.get() == "true"))
}

/// Whether `request` calls a tool that says of itself that a second call changes nothing more.
pub(super) fn may_be_repeated(catalog: &Catalog, request: &Request) -> bool {
    if request.method != Method::ToolsCall {
        return false;
    }
    let Some(name) = request.params.text("name") else { return false };
    let tool = catalog.tools.items.iter().find(|tool| *tool.key == *name);
    let tool = tool.and_then(|tool| RawObject::parse(tool.raw.get()).ok());
    let hints = tool.and_then(|tool| tool.read::<RawObject>("annotations").ok().flatten());
    let says = |hint: &str| hints.as_ref().is_some_and(|hints| matches!(hints.read(hint), Ok(Some(true))));
    says("idempotentHint") || says("readOnlyHint")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::ServerCapabilities;

    #[test]
    fn what_is_not_offered_is_not_there() {
        let offers = RawObject::parse(r#"{"tools":{"listChanged":true},"resources":{}}"#).unwrap();
        let catalog = Catalog { offers: ServerCapabilities(offers), ..Catalog::default() };
        for (method, there) in [
            ("tools/call", true),
            ("resources/templates/list", true),
            ("prompts/list", false),
            ("completion/complete", false),
            ("logging/setLevel", false),
            ("tasks/get", true),
            ("ping", true),
        ] {
            assert_eq!(offered(&catalog, Era::Legacy, &method.into()), there, "{method}");
        }
        assert!(has_flag(&catalog, "tools", "listChanged"));
        assert!(!has_flag(&catalog, "resources", "subscribe"));
        assert!(!has_flag(&catalog, "prompts", "listChanged"));
    }
}
