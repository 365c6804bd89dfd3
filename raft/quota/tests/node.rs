//! Rules of a node by example: what may be admitted, which answers count, when a session ends, how it gives
//! back.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use erlmcp_ledger::{Amount, Grant, Incarnation, Instance, Reason, Renewal};
use erlmcp_quota::{
    Action, Agent, Event, Identity, Lease, Outlook, Permit, Phase, Readiness, Refusal, Request, RequestId,
    Settings,
};

const LEASE_MS: u64 = 30_000;

fn identity() -> Identity {
    Identity { node: 1, incarnation: Incarnation::new(1), instance: Instance::new(1), nodes_expected: 4 }
}

fn grant(session: u64, seq: u32, connections: u32) -> Grant {
    let share = Amount::of_connections(connections);
    Grant { session, seq, share, target: None, lease_ms: Some(30_000) }
}

/// A lease whose session 7 was opened at 0 and renewed at `now_ms` with a share of `connections`.
fn live(now_ms: u64, connections: u32) -> Lease {
    let mut lease = Lease::new(identity(), Some(3));
    let opening = lease.open(0, 100).unwrap();
    assert_eq!((opening.attempt, opening.previous_session), (1, Some(3)));
    assert!(lease.answer(1, RequestId::Open { attempt: 1 }, &Ok(grant(7, 0, 0))));
    assert_eq!(lease.renew(2, 0, 10, 100), None, "not before the session is on disk");
    lease.saved_session(7);
    renewed(&mut lease, now_ms, connections);
    lease
}

fn id(renewal: &Renewal) -> RequestId {
    RequestId::Renew { session: renewal.session, seq: renewal.seq }
}

fn renewed(lease: &mut Lease, now_ms: u64, connections: u32) {
    let renewal = lease.renew(now_ms, u32::MAX, connections, 100).unwrap();
    assert!(lease.answer(now_ms + 5, id(&renewal), &Ok(grant(7, renewal.seq, connections))));
}

fn admit(lease: &mut Lease, now_ms: u64, count: usize) -> Vec<Permit> {
    let permits = (0..count).map(|_| lease.admit(now_ms).unwrap()).collect();
    assert_eq!(lease.admit(now_ms), None, "and no more");
    permits
}

#[test]
fn nothing_is_admitted_beyond_the_cap_or_without_a_session() {
    let mut lease = Lease::new(identity(), None);
    assert_eq!(lease.admit(0), None);
    let mut lease = live(10, 3);
    let mut permits = admit(&mut lease, 20, 3);
    lease.release(permits.pop().unwrap());
    drop(admit(&mut lease, 20, 1));
}

#[test]
fn the_deadline_counts_from_the_send_time_of_the_renewal_that_was_answered() {
    let mut lease = live(10, 3);
    assert_eq!(lease.deadline_ms(), 10 + LEASE_MS);
    let renewal = lease.renew(1_000, 3, 3, 100).unwrap();
    assert!(lease.answer(9_000, id(&renewal), &Ok(grant(7, 2, 3))));
    assert_eq!(lease.deadline_ms(), 1_000 + LEASE_MS, "not from the answer");
    let renewal = lease.renew(2_000, 3, 3, 100).unwrap();
    let shorter = Grant { lease_ms: Some(5_000), ..grant(7, 3, 3) };
    assert!(lease.answer(2_001, id(&renewal), &Ok(shorter)));
    assert_eq!(lease.deadline_ms(), 7_000, "earlier than the one it had");
}

#[test]
fn only_the_answer_to_the_latest_request_counts_once_and_in_time() {
    let mut lease = live(10, 3);
    let first = lease.renew(100, 2, 9, 100).unwrap();
    let second = lease.renew(1_200, 2, 9, 100).unwrap();
    assert_eq!((first.seq, second.seq), (2, 3), "one number is never sent twice");
    assert!(!lease.answer(1_300, id(&first), &Ok(grant(7, 2, 9))));
    assert_eq!(lease.cap(), 2, "what it kept");
    assert!(lease.answer(1_300, id(&second), &Ok(grant(7, 3, 4))));
    assert!(!lease.answer(1_400, id(&second), &Ok(grant(7, 3, 4))), "doubled");
    let late = lease.renew(2_000, 4, 9, 100).unwrap();
    let short = Grant { lease_ms: Some(3_000), ..grant(7, 4, 9) };
    assert!(!lease.answer(5_000, id(&late), &Ok(short)), "its lease has passed on the way");
    assert_eq!((lease.cap(), lease.deadline_ms()), (4, 1_200 + LEASE_MS));
}

#[test]
fn a_renewal_never_keeps_less_than_is_open_and_lowers_the_cap_at_once() {
    let mut lease = live(10, 5);
    let permits = admit(&mut lease, 20, 5);
    assert_eq!(lease.renew(30, 0, 0, 100).unwrap().held.connections, 5);
    for permit in permits.into_iter().take(3) {
        lease.release(permit);
    }
    let renewal = lease.renew(2_000, 1, 5, 100).unwrap();
    assert_eq!((renewal.held.connections, renewal.in_use.connections, lease.cap()), (2, 2, 2));
    assert_eq!(lease.admit(2_001), None, "what it gives back is not given out again");
}

#[test]
fn at_the_deadline_the_session_ends_and_the_next_waits_for_the_last_connection() {
    let mut lease = live(10, 2);
    let permits = admit(&mut lease, 20, 2);
    let end = 10 + LEASE_MS;
    assert!(lease.serves(&permits[0], end - 1) && !lease.serves(&permits[0], end));
    assert!(!lease.is_open(end - 1_000), "the last second admits nothing");
    assert_eq!(lease.renew(end, 2, 2, 100), None);
    assert_eq!(
        (lease.phase(), lease.cap(), lease.in_use()),
        (Phase::Ended, 0, 2),
        "the count is not forgotten"
    );
    assert_eq!(lease.open(end + 1, 100), None);
    for permit in permits {
        assert_eq!(lease.open(end + 1, 100), None);
        lease.release(permit);
    }
    let opening = lease.open(end + 2, 100).unwrap();
    assert_eq!((opening.attempt, opening.previous_session), (2, Some(7)));
}

#[test]
fn a_session_that_the_ledger_has_ended_ends_here_whichever_renewal_is_told() {
    let mut lease = live(10, 2);
    let permit = lease.admit(20).unwrap();
    let first = lease.renew(100, 2, 2, 100).unwrap();
    lease.renew(1_200, 2, 2, 100).unwrap();
    let stale = Err(Reason::StaleSession { node: 1, session: 9 });
    let other = RequestId::Renew { session: 6, seq: 2 };
    assert!(!lease.answer(1_300, other, &stale), "another session's end");
    assert!(lease.answer(1_300, id(&first), &stale));
    assert_eq!(lease.phase(), Phase::Ended);
    assert!(!lease.serves(&permit, 1_300));
    lease.release(permit);
    assert_eq!(lease.phase(), Phase::Closed);
}

#[test]
fn only_the_answer_to_the_latest_attempt_at_opening_counts() {
    let mut lease = Lease::new(identity(), None);
    lease.open(0, 100).unwrap();
    lease.open(1_000, 100).unwrap();
    assert!(!lease.answer(1_001, RequestId::Open { attempt: 1 }, &Ok(grant(7, 0, 0))));
    assert_eq!(lease.phase(), Phase::Closed);
    assert!(lease.answer(1_002, RequestId::Open { attempt: 2 }, &Ok(grant(8, 0, 0))));
    assert_eq!((lease.session(), lease.deadline_ms()), (8, 1_000 + LEASE_MS));
}

#[test]
fn the_cap_follows_what_is_open_down_to_the_target() {
    let mut lease = live(10, 6);
    let mut permits = admit(&mut lease, 20, 6);
    lease.set_target(6, Some(1));
    assert_eq!(lease.target(), None, "another session's");
    lease.set_target(7, Some(4));
    assert_eq!(lease.cap(), 6, "nobody is closed for it");
    for left in [5, 4, 4] {
        assert_eq!(lease.replaces(30), left == 4 && lease.in_use() == 4, "{}", lease.in_use());
        lease.release(permits.pop().unwrap());
        assert_eq!(lease.cap(), left);
    }
    assert_eq!(lease.in_use(), 3);
    let _permit = lease.admit(30).unwrap();
    lease.set_target(7, None);
    lease.set_draining(true);
    assert_eq!((lease.cap(), lease.admit(30)), (4, None), "a drain admits nothing");
}

/// An agent with session 7 and a share of `connections`, renewed at `now_ms`; it can serve `ceiling`.
fn agent_of(now_ms: u64, connections: u32, ceiling: u32) -> Agent {
    let mut agent = Agent::new(Settings { identity: identity(), saved: None, ceiling });
    let outlook = Outlook { session: 7, limit: 100_000, free: 0, nodes: 4, ..Outlook::default() };
    let opening = act(&mut agent, now_ms, Event::View(outlook));
    assert!(matches!(&opening[..], [Action::Send(Request::Open(opening))] if opening.attempt == 1));
    let opened = act(&mut agent, now_ms, answer(RequestId::Open { attempt: 1 }, 0, 0));
    assert_eq!(opened, [Action::Save(7)]);
    let first = sent(&act(&mut agent, now_ms, Event::Saved(7)));
    assert_eq!(act(&mut agent, now_ms + 5, answer(id(&first), 1, connections)), []);
    agent
}

/// The same where it can serve no more than its share.
fn agent(now_ms: u64, connections: u32) -> Agent {
    agent_of(now_ms, connections, connections)
}

fn answer(id: RequestId, seq: u32, connections: u32) -> Event {
    Event::Answer(id, Ok(grant(7, seq, connections)))
}

fn act(agent: &mut Agent, now_ms: u64, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    agent.handle(now_ms, event, &mut actions);
    actions
}

fn poll(agent: &mut Agent, now_ms: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    agent.poll(now_ms, &mut actions);
    actions
}

fn sent(actions: &[Action]) -> Renewal {
    match actions {
        [Action::Send(Request::Renew(renewal))] => renewal.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_idle_node_renews_every_two_and_a_half_seconds_and_asks_for_nothing() {
    let mut agent = agent(0, 25_000);
    assert_eq!(agent.wake_ms(), 2_500);
    assert_eq!(poll(&mut agent, 2_499), []);
    let renewal = sent(&poll(&mut agent, 2_500));
    assert_eq!(
        (renewal.held.connections, renewal.want.connections),
        (25_000, 100),
        "twice the least headroom"
    );
    assert_eq!(poll(&mut agent, 3_499), [], "one request at a time");
    assert_eq!(agent.wake_ms(), 3_500);
    assert_eq!(
        sent(&poll(&mut agent, 3_500)).seq,
        3,
        "given up after a second; the next has the next number"
    );
}

#[test]
fn a_node_that_runs_short_asks_at_once_and_pauses_after_an_answer_that_gives_nothing() {
    let mut agent = agent_of(0, 100, 1_000);
    let permits: Vec<_> = (0..100).map(|_| agent.admit(1_000).unwrap()).collect();
    assert_eq!(agent.admit(1_000), Err(Refusal::ShareUsedUp));
    let renewal = sent(&poll(&mut agent, 1_000));
    assert_eq!((renewal.held.connections, renewal.want.connections), (100, 302), "it saw 101 come");
    assert_eq!(act(&mut agent, 1_010, answer(id(&renewal), renewal.seq, 100)), []);
    assert_eq!(agent.wake_ms(), 1_110);
    let more = Outlook { session: 7, limit: 100_000, free: 60, nodes: 4, ..Outlook::default() };
    let again = sent(&act(&mut agent, 1_050, Event::View(more)));
    assert_eq!(act(&mut agent, 1_060, answer(id(&again), again.seq, 402)), [], "it has enough");
    drop(permits);
}

#[test]
fn a_share_far_above_its_use_is_given_back_after_five_seconds_down_to_the_fair_part() {
    let mut agent = agent(0, 80_000);
    let mut now_ms = 2_500;
    while now_ms < 5_000 {
        let renewal = sent(&poll(&mut agent, now_ms));
        assert_eq!(renewal.held.connections, 80_000);
        act(&mut agent, now_ms + 1, answer(id(&renewal), renewal.seq, 80_000));
        now_ms += 2_500;
    }
    let renewal = sent(&poll(&mut agent, 5_010));
    assert_eq!(renewal.held.connections, 25_000);
}

#[test]
fn a_recalled_node_gives_back_at_once_what_is_idle() {
    let mut agent = agent(0, 25_000);
    let outlook = Outlook { session: 7, target: Some(50), limit: 100_000, nodes: 4, ..Outlook::default() };
    let renewal = sent(&act(&mut agent, 100, Event::View(outlook)));
    assert_eq!((renewal.held.connections, renewal.want.connections), (50, 50));
}

#[test]
fn a_node_is_unready_without_a_share_and_past_half_its_lease() {
    let mut node = Agent::new(Settings { identity: identity(), saved: None, ceiling: 10 });
    assert_eq!(node.readiness(0), Readiness::NoShare);
    assert_eq!(node.admit(0), Err(Refusal::NoShare));
    let mut node = agent(0, 2);
    assert_eq!(node.readiness(14_999), Readiness::Ready);
    assert_eq!(node.readiness(15_000), Readiness::Unrenewed);
    let permit = node.admit(15_000).unwrap();
    assert_eq!(node.admit(29_000), Err(Refusal::NoShare), "the last second");
    let actions = poll(&mut node, 30_000);
    assert_eq!(actions, [Action::CloseAll]);
    assert_eq!(poll(&mut node, 30_001), [], "told once");
    node.release(permit);
    let opening = poll(&mut node, 30_002);
    assert!(matches!(&opening[..], [Action::Send(Request::Open(opening))] if opening.attempt == 2));
}

#[test]
fn a_process_stopped_longer_than_its_lease_serves_nothing_when_it_wakes() {
    let mut node = agent(0, 2);
    let permit = node.admit(10).unwrap();
    assert!(node.lease().serves(&permit, 29_999));
    assert!(!node.lease().serves(&permit, 500_000), "before anything else has run");
    let renewal_answer = answer(RequestId::Renew { session: 7, seq: 1 }, 1, 2);
    assert_eq!(act(&mut node, 500_000, renewal_answer), [Action::CloseAll]);
}

#[test]
fn a_stop_gives_the_share_back_after_the_last_connection() {
    let mut node = agent(0, 5);
    let permit = node.admit(10).unwrap();
    assert_eq!(act(&mut node, 100, Event::Stop), [], "one is open");
    assert_eq!(node.admit(120), Err(Refusal::Draining));
    node.release(permit);
    let last = sent(&poll(&mut node, 130));
    assert_eq!(last.held.connections, 0);
    assert_eq!(act(&mut node, 140, answer(id(&last), last.seq, 0)), [Action::GivenBack]);
}

#[test]
fn a_refused_opening_is_repeated_with_growing_pauses() {
    let mut node = Agent::new(Settings { identity: identity(), saved: None, ceiling: 10 });
    let mut now_ms = 0;
    for pause in [500, 1_000, 2_000, 4_000, 5_000, 5_000] {
        let actions = poll(&mut node, now_ms);
        let [Action::Send(request)] = &actions[..] else { panic!("{actions:?}") };
        let busy = Err(Reason::Busy { node: 1, session: 4 });
        assert_eq!(act(&mut node, now_ms, Event::Answer(request.id(), busy)), []);
        now_ms += pause;
        assert_eq!(node.wake_ms(), now_ms);
        assert_eq!(poll(&mut node, now_ms - 1), []);
    }
}
