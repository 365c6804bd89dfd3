//! Finding a node to ask: the one named, or every known one in turn until one answers.
//!
//! Each node's admin token is its own, so the token is chosen with the node. A node that answers with a
//! refusal has answered; only silence moves on to the next.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::api::Complaint;
use crate::config::Config;

use super::args::{AdminArgs, ClientArgs, ConfigArgs, HealthcheckArgs};
use super::error::CliError;
use super::http::{CallError, HttpAnswer, HttpCaller};
use super::paint;
use super::private::Exposure;
use super::settings;

/// A node that might answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its number, where known.
    pub(super) id: Option<u64>,
    /// Its address, without a path.
    pub(super) url: String,
    /// The file with its admin token.
    pub(super) token_file: PathBuf,
}

/// The nodes to ask for a view.
pub(super) fn for_view(args: &ClientArgs) -> Result<Vec<Candidate>, CliError> {
    candidates(args.url.as_deref(), args.id, None, &args.config)
}

/// The one node to ask whether it is ready.
pub(super) fn for_health(args: &HealthcheckArgs) -> Result<Vec<Candidate>, CliError> {
    candidates(args.url.as_deref(), Some(args.id), None, &args.config)
}

/// The nodes to ask for an action; `first` is asked before the others, `never` not at all.
pub(super) fn for_action(
    args: &AdminArgs,
    first: Option<u64>,
    never: Option<u64>,
) -> Result<Vec<Candidate>, CliError> {
    let mut found = candidates(args.url.as_deref(), None, args.token_file.as_ref(), &args.config)?;
    if args.url.is_none() {
        found.retain(|candidate| candidate.id.is_none() || candidate.id != never);
        found.sort_by_key(|candidate| candidate.id != first);
    }
    Ok(found)
}

fn candidates(
    url: Option<&str>,
    id: Option<u64>,
    token_file: Option<&PathBuf>,
    args: &ConfigArgs,
) -> Result<Vec<Candidate>, CliError> {
    let token = |config: &Config| token_file.cloned().unwrap_or_else(|| config.admin_token_file.clone());
    if let Some(url) = url {
        let url = url.trim_end_matches('/').to_string();
        // Which node that is, is known only if it is one of ours.
        let local = local_candidates(args, token_file).unwrap_or_default();
        let known = local.into_iter().find(|candidate| candidate.url == by_number(&url));
        let fallback = match (&known, token_file) {
            (Some(candidate), _) => candidate.token_file.clone(),
            (None, Some(file)) => file.clone(),
            (None, None) => token(&settings::load(id.unwrap_or(1), args)?),
        };
        return Ok(vec![Candidate { id: known.and_then(|known| known.id), url, token_file: fallback }]);
    }
    match id {
        Some(id) => {
            let config = settings::load(id, args)?;
            Ok(vec![Candidate {
                id: Some(id),
                url: base_url(config.http_listen),
                token_file: token(&config),
            }])
        }
        None => local_candidates(args, token_file),
    }
}

/// Every node that the configuration knows an HTTP address of.
fn local_candidates(args: &ConfigArgs, token_file: Option<&PathBuf>) -> Result<Vec<Candidate>, CliError> {
    let sources = settings::sources(args, &[]);
    let first = Config::load(1, &sources)?;
    let mut found = Vec::new();
    for node in &first.nodes {
        let config = Config::load(node.id, &sources)?;
        let url = match &node.http {
            Some(http) => format!("http://{http}"),
            None if !first.nodes_are_listed => base_url(config.http_listen),
            None => continue,
        };
        let token_file = token_file.cloned().unwrap_or(config.admin_token_file);
        let candidate = Candidate { id: Some(node.id), url, token_file };
        if !found.iter().any(|known: &Candidate| known.url == candidate.url) {
            found.push(candidate);
        }
    }
    if found.is_empty() {
        let url = base_url(first.http_listen);
        let token_file = token_file.cloned().unwrap_or(first.admin_token_file);
        found.push(Candidate { id: Some(1), url, token_file });
    }
    Ok(found)
}

/// Address at which a listener is reached: one on all addresses is reached by loopback.
fn base_url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

/// The same address with loopback by number, as configurations have it.
fn by_number(url: &str) -> String {
    url.replacen("http://localhost:", "http://127.0.0.1:", 1)
}

/// Asks the candidates in turn and returns the first answer with the address it came from.
pub(super) async fn get(
    caller: &HttpCaller,
    candidates: &[Candidate],
    path: &str,
) -> Result<(String, HttpAnswer), CliError> {
    let mut silent = Vec::new();
    for candidate in candidates {
        match caller.get(&candidate.url, path).await {
            Ok(answer) => return Ok((candidate.url.clone(), answer)),
            Err(CallError::Unreachable { url, why }) => silent.push((url, why)),
            Err(other) => return Err(other.into()),
        }
    }
    Err(nobody(candidates, &silent))
}

/// Sends an operator's action to the first candidate that is there.
pub(super) async fn post(
    caller: &HttpCaller,
    candidates: &[Candidate],
    path: &str,
    body: &Value,
) -> Result<(String, HttpAnswer), CliError> {
    let mut silent = Vec::new();
    for candidate in candidates {
        // Silence is found out before the token is read: a missing token of an absent node is no news.
        if let Err(CallError::Unreachable { url, why }) = caller.get(&candidate.url, "/livez").await {
            silent.push((url, why));
            continue;
        }
        let token = read_token(&candidate.token_file)?;
        let answer = caller.post(&candidate.url, path, &token, body.to_string().into_bytes()).await?;
        return Ok((candidate.url.clone(), answer));
    }
    Err(nobody(candidates, &silent))
}

fn nobody(candidates: &[Candidate], silent: &[(String, String)]) -> CliError {
    let id = candidates.first().and_then(|candidate| candidate.id).unwrap_or(1);
    let tried = match silent {
        [] => "any known address".to_string(),
        [(url, why)] => format!("{url} ({why})"),
        [(url, why), rest @ ..] => format!("{url} ({why}), nor at {} more", rest.len()),
    };
    CliError::NoNode { tried, id }
}

/// The answer as JSON text when the node agreed; its words when it did not.
pub(super) fn accepted(url: &str, answer: &HttpAnswer) -> Result<Value, CliError> {
    let refused =
        |message| CliError::Refused { url: url.to_string(), status: answer.status.as_u16(), message };
    if !answer.status.is_success() {
        return Err(refused(complaint(&answer.body)));
    }
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&answer.body).map_err(|error| {
        CliError::Call(CallError::Broken {
            url: url.to_string(),
            why: format!("its answer is no JSON: {error}"),
        })
    })
}

/// Reason that a node gives when it refuses: its own words if they can be read, else the start of the body.
fn complaint(body: &[u8]) -> String {
    /// Enough to recognise a proxy's error page.
    const SHOWN_CHARS: usize = 200;
    let said = serde_json::from_slice::<Complaint>(body).unwrap_or_default().into_text();
    if !said.is_empty() {
        return paint::printable(&said);
    }
    let start: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN_CHARS).collect();
    if start.is_empty() { "no reason given".to_string() } else { paint::printable(&start) }
}

/// Reads a token and refuses one that others could have read, unless nobody here can change that.
fn read_token(path: &Path) -> Result<String, CliError> {
    let fail = |source| CliError::Token { path: path.to_path_buf(), source };
    let exposure = Exposure::of(path).map_err(fail)?;
    if exposure.is_careless() {
        return Err(CliError::TokenMode { path: path.to_path_buf(), mode: exposure.mode });
    }
    if exposure.is_to_everyone() {
        let (path, remedy) = (path.display(), exposure.remedy());
        paint::complain(&format!("everyone on this machine can read {path}: {remedy}"));
    }
    Ok(std::fs::read_to_string(path).map_err(fail)?.trim().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn args(set: &[(&str, &str)]) -> ConfigArgs {
        // A directory without files keeps the configuration of the working directory out of the test.
        let set = set.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
        ConfigArgs { config: vec![std::env::temp_dir().join("")], data_dir: Some("/d".into()), set }
    }

    fn operate(set: &[(&str, &str)]) -> AdminArgs {
        AdminArgs { config: args(set), ..AdminArgs::default() }
    }

    #[test]
    fn without_a_name_every_local_node_is_a_candidate_with_its_own_token() {
        let found = for_action(&operate(&[("cluster.port_base", "18080")]), None, None).unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(found[1].url, "http://127.0.0.1:18081");
        assert_eq!(found[1].token_file, PathBuf::from("/d/cluster2/admin.token"));
    }

    #[test]
    fn an_action_asks_its_node_first_and_one_to_be_removed_never() {
        let ids = |first, never| {
            let found = for_action(&operate(&[]), first, never).unwrap();
            found.iter().filter_map(|candidate| candidate.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(Some(3), None), [3, 1, 2, 4]);
        assert_eq!(ids(None, Some(1)), [2, 3, 4]);
    }

    #[test]
    fn an_address_of_a_known_node_finds_its_token() {
        for url in ["http://127.0.0.1:8081/", "http://localhost:8081"] {
            let args = AdminArgs { url: Some(url.to_string()), ..operate(&[]) };
            let found = for_action(&args, None, None).unwrap();
            assert_eq!((found.len(), found[0].id), (1, Some(2)), "{url}");
            assert_eq!(found[0].token_file, PathBuf::from("/d/cluster2/admin.token"));
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_by_loopback() {
        let url = |text: &str| base_url(text.parse().unwrap());
        assert_eq!(url("0.0.0.0:80"), "http://127.0.0.1:80");
        assert_eq!(url("[::]:80"), "http://[::1]:80");
        assert_eq!(url("10.0.0.1:80"), "http://10.0.0.1:80");
    }

    #[test]
    fn a_refusal_is_told_in_the_nodes_own_words() {
        assert_eq!(complaint(br#"{"error":"no such node"}"#), "no such node");
        assert_eq!(complaint(br#"{"error":{"code":1,"message":"no leader"}}"#), "no leader");
        assert_eq!(complaint(b"<html>"), "<html>");
        assert_eq!(complaint(b""), "no reason given");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        std::fs::write(&path, "secret\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(matches!(read_token(&path), Err(CliError::TokenMode { mode: 0o644, .. })));
        mode(0o600);
        assert_eq!(read_token(&path).unwrap(), "secret");
    }

    #[tokio::test]
    async fn silence_everywhere_names_the_first_address_and_the_way_out() {
        let closed = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let url = base_url(listener.local_addr().unwrap());
            Candidate { id: Some(7), url, token_file: PathBuf::new() }
        };
        let candidates = [closed(), closed()];
        let error = get(&HttpCaller::new(), &candidates, "/").await.unwrap_err().to_string();
        let url = &candidates[0].url;
        assert_eq!(
            error,
            format!(
                "no node answers at {url} (connection refused), nor at 1 more; \
                 start one: erlmcp-node start --id 7"
            )
        );
    }
}
