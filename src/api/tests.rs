//! The wire form of a status, pinned, and how much of it may be missing.

use super::{Complaint, ComplaintText, Drained, Health, Members, Removed, State, Status, Transferred};

/// Status of a follower of two, with every key in its place.
const STATUS: &str = r#"{
  "cluster": {
    "id": "0a9d50437d85880f",
    "name": "erlmcp",
    "formation": "forming 2/4",
    "health": "no quorum"
  },
  "node": {
    "id": 1,
    "role": "follower",
    "ready": false,
    "not_ready_because": [
      "stopping"
    ],
    "version": "0.1.0",
    "uptime_s": 3,
    "started_at_unix_ms": 1795626907205
  },
  "leader": null,
  "term": 4,
  "applied": 120,
  "share_entries": 41,
  "committed": 121,
  "lag": 1,
  "majority_contact_ms": 80,
  "members": [
    {
      "id": 1,
      "role": "voter",
      "state": "draining",
      "draining": true,
      "peer": "127.0.0.1:9201",
      "http": "127.0.0.1:8080",
      "healthy": true,
      "lag": 1,
      "last_contact_ms": 0
    },
    {
      "id": 2,
      "role": "learner",
      "state": "unreachable",
      "draining": false,
      "peer": "127.0.0.1:9202",
      "http": "127.0.0.1:8081",
      "healthy": null,
      "lag": null,
      "last_contact_ms": null
    }
  ],
  "connections": {
    "here": 1,
    "limit_here": 19744,
    "share_ends_in_ms": 28125,
    "cluster_limit": 100000,
    "total_here": 3,
    "refused_here": {
      "limit_reached": 12,
      "stopping": 1
    }
  },
  "serving": {
    "sessions": 0,
    "sessions_displaced": 0,
    "calls": 2,
    "refused": {
      "body_too_long": 2
    }
  },
  "throughput": {
    "messages_total": 5,
    "messages_in": 3,
    "messages_out": 2,
    "faults": 1,
    "messages_per_second_1s": 0.0,
    "messages_per_second_10s": 0.5,
    "messages_per_second_1m": 0.25
  },
  "latency": {
    "p50_ms": 0.0,
    "p90_ms": 0.095,
    "p95_ms": 0.1,
    "p99_ms": 1.25,
    "p999_ms": 3.0,
    "max_ms": 3.0
  },
  "quota": {
    "connections": 100000,
    "messages_per_second": 150000,
    "burst": 150000
  },
  "store": {
    "size_bytes": 561152,
    "fsync_count": 4,
    "fsync_last_us": 271,
    "fsync_max_us": 1955,
    "healthy": true,
    "problem": null
  },
  "peer_port": {
    "strangers": 0,
    "unproven": 0,
    "nonces_full": 0
  },
  "upstreams": [
    {
      "name": "u",
      "state": "down"
    }
  ],
  "health": "stopping"
}"#;

#[test]
fn a_status_keeps_every_key_its_order_and_its_nulls() {
    let status: Status = serde_json::from_str(STATUS).unwrap();
    assert_eq!(serde_json::to_string_pretty(&status).unwrap(), STATUS);
    assert_eq!(status.cluster.health, Health::NoQuorum);
    assert_eq!(status.members[1].state, State::Unreachable);
}

#[test]
fn answers_and_refusals_keep_their_form() {
    let text = |value: serde_json::Result<String>| value.unwrap();
    let drained = Drained { draining: true, node: 2 };
    assert_eq!(text(serde_json::to_string(&drained)), r#"{"draining":true,"node":2}"#);
    assert_eq!(text(serde_json::to_string(&Transferred { leader: 3 })), r#"{"leader":3}"#);
    let removed = Removed { node: 4, removed: true };
    assert_eq!(text(serde_json::to_string(&removed)), r#"{"node":4,"removed":true}"#);
    assert_eq!(text(serde_json::to_string(&Complaint::new("no"))), r#"{"error":"no"}"#);
    let wrapped: Complaint = serde_json::from_str(r#"{"error":{"code":1,"message":"no"}}"#).unwrap();
    assert_eq!(wrapped.error, ComplaintText::Object { message: "no".to_owned() });
}

#[test]
fn an_empty_object_is_a_status() {
    let status: Status = serde_json::from_str("{}").unwrap();
    assert_eq!(status, Status::default());
    assert_eq!(status.lines(), [("leader", "no leader, term 0".to_owned())]);
}

#[test]
fn empty_parts_are_parts_and_say_nothing() {
    let mut hollow: serde_json::Value = serde_json::from_str(STATUS).unwrap();
    for part in hollow.as_object_mut().unwrap().values_mut().filter(|part| part.is_object()) {
        *part = serde_json::json!({});
    }
    let status: Status = serde_json::from_value(hollow).unwrap();
    let leader = "no leader, term 4, applied 120 of 121, a majority answered 80 ms ago";
    assert_eq!(status.lines(), [("leader", leader.to_owned())]);
}

#[test]
fn unknown_fields_words_and_null_are_no_obstacle() {
    let text =
        r#"{"leader":null,"new":1,"members":[{"id":1,"state":"asleep","peer":null,"x":{}}],"quota":{}}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!(status.members[0].id, 1);
    assert_eq!(status.members[0].state.to_string(), "asleep");
}

#[test]
fn members_come_alone_or_in_an_object() {
    for text in [r#"[{"id":1}]"#, r#"{"members":[{"id":1}]}"#] {
        let members: Members = serde_json::from_str(text).unwrap();
        assert_eq!(members.into_list().len(), 1);
    }
}
