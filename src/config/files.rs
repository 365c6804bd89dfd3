//! How the open files that a process may have are shared out: some for the node itself, some for its
//! upstreams, the rest for clients.

use super::{Connections, Gateway, Instances, Upstream};

/// Files of one child: stdin, stdout, stderr, and two by which its end is seen.
const CHILD_FILES: u64 = 5;
/// Children of an upstream that all clients share: one for each era, and their successors.
const SHARED_CHILDREN: u64 = 4;
/// Upstreams get at most this part of what the node does not keep for itself.
const UPSTREAMS_PART: u64 = 4;

/// Shares of the open files.
#[derive(Clone, Debug)]
pub struct FilesPlan {
    /// For connections of clients.
    pub clients: u64,
    /// The section `gateway` with what each upstream may have lowered to its share.
    pub gateway: Gateway,
    /// Whether it was lowered.
    pub is_lowered: bool,
}

impl FilesPlan {
    /// Shares out `files`.
    #[must_use]
    pub fn new(
        files: u64,
        connections: &Connections,
        gateway: &Gateway,
        upstreams: &[Upstream],
    ) -> FilesPlan {
        let free = files.saturating_sub(connections.reserve_files.into());
        let wanted = |gateway: &Gateway| upstreams.iter().map(|one| most_of(one, gateway)).sum::<u64>();
        let (all, most) = (wanted(gateway), free / UPSTREAMS_PART);
        if all <= most {
            return FilesPlan { clients: free - all, gateway: gateway.clone(), is_lowered: false };
        }
        let part = |value: u32, most: u64, of: u64| {
            let part = u64::from(value).saturating_mul(most) / of.max(1);
            u32::try_from(part).unwrap_or(value).max(1)
        };
        let of_sessions = |most: u64, of: u64| Gateway {
            sessions_max: part(gateway.sessions_max, most, of),
            children_max: part(gateway.children_max, most, of),
            ..gateway.clone()
        };
        // Sessions give way first: a session that lost its place gets another, a call is refused.
        let calls = wanted(&Gateway { sessions_max: 0, children_max: 0, ..gateway.clone() });
        let lowered = if calls <= most / 2 {
            of_sessions(most - calls, all - calls)
        } else {
            Gateway {
                pool_connections: part(gateway.pool_connections, most, all),
                queue_requests_max: part(gateway.queue_requests_max, most, all),
                ..of_sessions(most, all)
            }
        };
        FilesPlan { clients: free - wanted(&lowered).min(free / 2), gateway: lowered, is_lowered: true }
    }
}

/// The most files that one upstream takes.
fn most_of(upstream: &Upstream, gateway: &Gateway) -> u64 {
    let sum = |values: &[u32]| values.iter().copied().map(u64::from).sum::<u64>();
    match (&upstream.url, upstream.instances) {
        (Some(_), _) => sum(&[gateway.sessions_max, gateway.queue_requests_max, gateway.pool_connections]),
        (None, Instances::Shared) => SHARED_CHILDREN * CHILD_FILES,
        (None, Instances::Session) => (SHARED_CHILDREN + u64::from(gateway.children_max)) * CHILD_FILES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> Upstream {
        Upstream { url: Some("http://localhost:1/mcp".to_owned()), ..Upstream::new("web") }
    }

    fn plan(files: u64, upstreams: &[Upstream]) -> FilesPlan {
        FilesPlan::new(files, &Connections::default(), &Gateway::default(), upstreams)
    }

    #[test]
    fn without_upstreams_clients_have_all_that_the_node_does_not_keep() {
        assert_eq!(plan(20_000, &[]).clients, 20_000 - 256);
        assert_eq!(plan(100, &[]).clients, 0);
    }

    #[test]
    fn with_many_files_each_upstream_has_what_its_keys_say() {
        let plan = plan(1_048_576, &[url(), Upstream::new("shared")]);
        assert_eq!(plan.gateway.sessions_max, Gateway::default().sessions_max);
        assert_eq!(plan.clients, 1_048_576 - 256 - 11_100 - 20);
    }

    #[test]
    fn with_few_files_upstreams_together_take_a_quarter_and_keep_at_least_one_of_each() {
        let own = Upstream { instances: Instances::Session, ..Upstream::new("own") };
        let upstreams = [url(), url(), own];
        let plan = plan(20_000, &upstreams);
        let taken: u64 = upstreams.iter().map(|one| most_of(one, &plan.gateway)).sum();
        assert!(taken <= 19_744 / 4 + 20, "{taken}");
        assert_eq!(plan.clients, 19_744 - taken);
        assert!(plan.gateway.sessions_max > 1_000 && plan.gateway.children_max > 10, "{plan:?}");
        assert_eq!(plan.gateway.queue_requests_max, 1_000, "calls do not give way before sessions");
        let tiny = self::plan(300, &[url()]);
        assert_eq!((tiny.gateway.queue_requests_max, tiny.gateway.pool_connections), (1, 1));
        assert!(tiny.clients > 30, "{tiny:?}");
    }
}
