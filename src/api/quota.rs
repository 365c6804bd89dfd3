//! The connection limit: how it is shared out by node, and the order that sets it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::figures::Quota;
use super::since::since;

/// Length of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "lease_ms must be a whole number of milliseconds, or \"never\"")]
pub enum Lease {
    /// So many milliseconds.
    Ms(u64),
    /// Without end.
    Word(Never),
}

/// The word `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the name says it")]
pub enum Never {
    Never,
}

/// Answer to `GET /cluster/quota`: the limits, and how the connections are shared out, as the node that
/// answers has read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaReport {
    /// The limits of the ledger.
    #[serde(flatten)]
    pub limits: Quota,
    /// The lease with which shares are granted.
    pub lease_ms: Option<Lease>,
    /// Connections granted to all nodes together.
    pub granted: Option<u64>,
    /// Connections that nobody was granted.
    pub free: Option<u64>,
    /// Connections in use, as the nodes last said when they renewed.
    pub in_use: Option<u64>,
    /// Whether more is granted than the limit, as after it was lowered.
    pub is_over: Option<bool>,
    /// Every member and every share, by node.
    pub nodes: Vec<NodeShare>,
}

/// Part of one node. Numbers are connections; without a share `granted`, `in_use` and `wanted` are 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeShare {
    /// Its number.
    pub node: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Granted until the lease ends.
    pub granted: Option<u64>,
    /// In use when it last renewed.
    pub in_use: Option<u64>,
    /// Wanted in all when it last renewed.
    pub wanted: Option<u64>,
    /// The most that it says it can serve.
    pub ceiling: Option<u64>,
    /// The number to which it is asked to come down.
    pub target: Option<u64>,
    /// The lease of its share.
    pub lease_ms: Option<Lease>,
    /// Milliseconds since the node that answers applied its last renewal; `None` if that is not known.
    pub renewed_ago_ms: Option<u64>,
    /// Milliseconds until the leader may end the share, if it is not renewed; `None` is never, or not known.
    pub expires_in_ms: Option<u64>,
    /// How it stands: `live`, `draining`, `orphan` (its member was removed), `none` (it has no share).
    pub state: String,
    /// Why it is not given what it asks for; `None` if it lacks nothing.
    pub waits_because: Option<String>,
}

/// Body of `POST /cluster/quota`; what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetQuota {
    /// The new limit of connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// The new lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<Lease>,
}

/// Answer to [`SetQuota`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaChange {
    /// The limit before, as the node that answers knew it.
    pub connections_before: Option<u64>,
    /// The limit now.
    pub connections: Option<u64>,
    /// The lease before.
    pub lease_ms_before: Option<Lease>,
    /// The lease now.
    pub lease_ms: Option<Lease>,
    /// Connections granted now.
    pub granted: Option<u64>,
    /// Connections in use, as the nodes last said.
    pub in_use: Option<u64>,
    /// Consequences that are not plain from the numbers, a sentence each.
    pub notices: Vec<String>,
}

impl From<Option<u32>> for Lease {
    /// The lease as the ledger has it: `None` is for ever.
    fn from(ms: Option<u32>) -> Lease {
        ms.map_or(Lease::Word(Never::Never), |ms| Lease::Ms(ms.into()))
    }
}

impl FromStr for Lease {
    type Err = String;

    fn from_str(text: &str) -> Result<Lease, String> {
        if text == "never" {
            return Ok(Lease::Word(Never::Never));
        }
        let ms = text.parse().map_err(|_| "it must be a whole number of milliseconds, or never".to_owned());
        ms.map(Lease::Ms)
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lease::Word(Never::Never) => f.write_str("never"),
            Lease::Ms(ms) if ms % 1000 == 0 => f.write_str(&since(*ms)),
            Lease::Ms(ms) => write!(f, "{ms} ms"),
        }
    }
}

impl fmt::Display for QuotaReport {
    /// The whole in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {}", dash(self.limits.connections))?;
        if self.nodes.iter().any(|node| node.ceiling.is_some()) {
            let (granted, in_use) = (dash(self.granted), dash(self.in_use));
            write!(f, ": {granted} granted, {in_use} in use, {} free", dash(self.free))?;
        } else {
            f.write_str(", no node has a share of it")?;
        }
        write!(f, "; lease {}", dash(self.lease_ms))
    }
}

impl NodeShare {
    /// The share as a row for people: every column with its text.
    #[must_use]
    pub fn row(&self) -> Vec<(&'static str, String)> {
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        vec![
            ("NODE", format!("{}{name}", self.node)),
            ("STATE", self.state.clone()),
            ("GRANTED", dash(self.granted)),
            ("IN USE", dash(self.in_use)),
            ("WANTED", dash(self.wanted)),
            ("CEILING", dash(self.ceiling)),
            ("TARGET", dash(self.target)),
            ("LEASE", dash(self.lease_ms)),
            ("RENEWED", dash(self.renewed_ago_ms.map(|ms| format!("{} ago", since(ms))))),
            ("ENDS IN", dash(self.expires_in_ms.map(since))),
            ("WAITS BECAUSE", dash(self.waits_because.as_ref())),
        ]
    }
}

impl fmt::Display for QuotaChange {
    /// One line for what was set, then one for each notice.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (granted, in_use) = (dash(self.granted), dash(self.in_use));
        write!(f, "limit {}", dash(self.connections))?;
        if self.connections != self.connections_before {
            write!(f, " (was {})", dash(self.connections_before))?;
        }
        write!(f, ", lease {}", dash(self.lease_ms))?;
        if self.lease_ms != self.lease_ms_before {
            write!(f, " (was {})", dash(self.lease_ms_before))?;
        }
        writeln!(f, "; {granted} granted and {in_use} in use now")?;
        self.notices.iter().try_for_each(|notice| writeln!(f, "{notice}"))
    }
}

/// The text, or a dash for what was not said.
fn dash<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_a_number_or_never_and_nothing_else() {
        for (json, lease) in [("30000", Lease::Ms(30_000)), ("\"never\"", Lease::from(None))] {
            assert_eq!(serde_json::from_str::<Lease>(json).unwrap(), lease);
            assert_eq!(serde_json::to_string(&lease).unwrap(), json);
        }
        for json in ["\"ever\"", "-1", "1.5", "true"] {
            let error = serde_json::from_str::<Lease>(json).unwrap_err().to_string();
            assert!(error.contains("whole number of milliseconds, or \"never\""), "{json}: {error}");
        }
        assert_eq!("never".parse(), Ok(Lease::from(None)));
        assert_eq!("3000".parse(), Ok(Lease::Ms(3000)));
        assert!("3 s".parse::<Lease>().is_err());
        let said = [Lease::Ms(30_000), Lease::Ms(3_500), Lease::from(None)].map(|lease| lease.to_string());
        assert_eq!(said, ["30 s", "3500 ms", "never"]);
    }

    #[test]
    fn a_report_keeps_the_keys_that_it_had_and_every_key_of_a_node() {
        let text = concat!(
            r#"{"connections":1000,"messages_per_second":5,"burst":6,"lease_ms":"never","granted":250,"#,
            r#""free":750,"in_use":10,"is_over":false,"nodes":[{"node":1,"name":null,"granted":250,"#,
            r#""in_use":10,"wanted":60,"ceiling":4000,"target":null,"lease_ms":30000,"renewed_ago_ms":1200,"#,
            r#""expires_in_ms":29907,"state":"live","waits_because":null}]}"#
        );
        let report: QuotaReport = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&report).unwrap(), text);
        assert_eq!(report.to_string(), "limit 1000: 250 granted, 10 in use, 750 free; lease never");
        let empty: QuotaReport = serde_json::from_str("{}").unwrap();
        assert_eq!(empty, QuotaReport::default());
        assert_eq!(empty.to_string(), "limit -, no node has a share of it; lease -");
    }

    #[test]
    fn an_order_is_read_strictly_and_says_only_what_it_sets() {
        let order = SetQuota { connections: Some(5), lease_ms: None };
        assert_eq!(serde_json::to_string(&order).unwrap(), r#"{"connections":5}"#);
        assert!(serde_json::from_str::<SetQuota>(r#"{"conections":5}"#).is_err());
    }

    #[test]
    fn a_change_says_what_was_and_what_follows() {
        let change = QuotaChange {
            connections_before: Some(1000),
            connections: Some(10),
            lease_ms_before: Some(Lease::Ms(30_000)),
            lease_ms: Some(Lease::Ms(30_000)),
            granted: Some(250),
            in_use: Some(20),
            notices: vec!["nobody is shed".to_owned()],
        };
        let wanted = "limit 10 (was 1000), lease 30 s; 250 granted and 20 in use now\nnobody is shed\n";
        assert_eq!(change.to_string(), wanted);
    }
}
