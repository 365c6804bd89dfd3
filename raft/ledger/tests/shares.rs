//! Shares by example: who may open, what a renewal gives, how a lowered limit takes effect, who may end a
//! share.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;

use erlmcp_ledger::{
    Amount, Budget, CHUNK_MAX, Command, Grant, Incarnation, Instance, Ledger, Limits, MemberClaim, Opening,
    Reason, Receipt, Renewal, Share, laws,
};

/// A ledger with the log index of its last command.
struct Log {
    ledger: Ledger,
    index: u64,
}

fn claim(node: u64) -> MemberClaim {
    MemberClaim {
        peer_address: format!("127.0.0.1:{node}"),
        http_address: String::new(),
        incarnation: Incarnation::new(node.into()),
        name: String::new(),
        reads: 2,
    }
}

impl Log {
    fn new(nodes: u64, connections: u32) -> Self {
        let mut log = Self { ledger: Ledger::default(), index: 0 };
        let limits = Limits { connections, ..Limits::default() };
        let (cluster_id, budget) = ("c".to_owned(), Budget::default());
        log.apply(Command::Found { cluster_id, node: 1, claim: claim(1), limits, budget });
        for node in 2..=nodes {
            log.apply(Command::PutMember { node, claim: claim(node), returning: false });
        }
        log
    }

    fn apply(&mut self, command: Command) -> Receipt {
        self.index += 1;
        let before = self.ledger.clone();
        let (receipt, changes) = self.ledger.apply(self.index, &command);
        assert!(laws::step_is_lawful(&before, &command, &receipt, &self.ledger), "{command:?}");
        assert!(laws::changes_tell_the_step(&before, &changes, &self.ledger), "{command:?}");
        receipt
    }

    fn open(&mut self, opening: Opening) -> Result<Grant, Reason> {
        match self.apply(Command::Open(opening)) {
            Receipt::Granted(grant) => Ok(grant),
            Receipt::Refused(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// Keeps `held`, all of it in use, and wants `want` in all.
    fn renew(&mut self, node: u64, held: u32, want: u32) -> Result<Grant, Reason> {
        let share = self.share(node).clone();
        self.renew_as(Renewal { seq: share.seq + 1, ..renewal(node, &share, held, want) })
    }

    fn renew_as(&mut self, renewal: Renewal) -> Result<Grant, Reason> {
        match self.apply(Command::Renew { renewals: vec![renewal] }) {
            Receipt::Renewed(mut answers) => answers.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn share(&self, node: u64) -> &Share {
        &self.ledger.shares()[&node]
    }

    fn granted(&self, node: u64) -> u32 {
        self.share(node).granted.connections
    }

    fn set_limit(&mut self, connections: u32) {
        let command = Command::SetLimit { tenant: None, connections: Some(connections) };
        assert_eq!(self.apply(command), Receipt::Done);
    }

    /// All nodes open and take their first grant.
    fn all_open(nodes: u64, connections: u32) -> Self {
        let mut log = Self::new(nodes, connections);
        for node in 1..=nodes {
            log.open(opening(node, 1, 1, None)).unwrap();
            log.renew(node, 0, 0).unwrap();
        }
        log
    }
}

fn opening(node: u64, instance: u128, attempt: u32, previous_session: Option<u64>) -> Opening {
    Opening {
        node,
        incarnation: Incarnation::new(node.into()),
        instance: Instance::new(instance),
        attempt,
        previous_session,
        ceiling: 1_000_000,
        nodes_expected: 4,
    }
}

fn renewal(node: u64, share: &Share, held: u32, want: u32) -> Renewal {
    Renewal {
        node,
        session: share.session,
        seq: share.seq,
        held: Amount::of_connections(held),
        in_use: Amount::of_connections(held),
        want: Amount::of_connections(want),
        ceiling: share.ceiling,
        lease_ms: Some(30_000),
    }
}

#[test]
fn four_nodes_start_with_a_quarter_each_and_an_opening_grants_nothing() {
    let mut log = Log::new(1, 100_000);
    let grant = log.open(opening(1, 1, 1, None)).unwrap();
    assert_eq!((grant.session, grant.seq, grant.share.connections), (log.index, 0, 0));
    assert_eq!(log.renew(1, 0, 0).unwrap().share.connections, 25_000, "one of four that are expected");
    assert_eq!(Log::all_open(4, 100_000).ledger.free(), 0);
    assert_eq!(Log::all_open(5, 100_000).granted(5), 20_000);
}

#[test]
fn a_share_is_opened_anew_only_by_proof_that_its_process_is_gone() {
    let mut log = Log::all_open(4, 100_000);
    let session = log.share(2).session;
    let busy = Err(Reason::Busy { node: 2, session });
    let before = log.ledger.clone();
    assert_eq!(log.open(opening(2, 9, 1, None)), busy, "another process without proof");
    assert_eq!(log.open(opening(2, 9, 1, Some(session - 1))), busy, "an older session");
    assert_eq!(log.open(opening(2, 9, 1, Some(session + 1))), busy, "a newer one is no proof either");
    assert_eq!(log.open(opening(2, 1, 1, None)), busy, "the same attempt, late");
    assert_eq!(log.ledger, before, "busy changes nothing");

    let again = log.open(opening(2, 9, 1, Some(session))).unwrap();
    assert_eq!((log.granted(2), log.ledger.free()), (0, 25_000), "the dead process's connections are free");
    assert_eq!(log.open(opening(2, 9, 1, Some(session))).unwrap(), again, "doubled: the same session");
    assert_eq!(log.share(2).renewed_at, again.session, "and not renewed by it");
    let second = log.open(opening(2, 9, 2, None)).unwrap();
    assert!(second.session > again.session, "the process itself may try again");
    let late = opening(2, 9, 1, Some(session));
    assert_eq!(log.open(late), Err(Reason::Busy { node: 2, session: second.session }), "but not go back");

    let stranger = Opening { incarnation: Incarnation::new(77), ..opening(2, 9, 3, None) };
    let known = Incarnation::new(2);
    assert_eq!(log.open(stranger), Err(Reason::OtherIncarnation { node: 2, known }));
    assert_eq!(log.open(opening(7, 1, 1, None)), Err(Reason::NotAMember { node: 7 }));
}

#[test]
fn a_renewal_counts_once_and_only_in_its_session() {
    let mut log = Log::all_open(4, 100_000);
    let share = log.share(1).clone();
    assert_eq!(log.renew_as(renewal(1, &share, 0, 0)), Err(Reason::StaleSeq { node: 1, seq: 1 }));
    let gap = Renewal { seq: 5, ..renewal(1, &share, 20_000, 20_000) };
    assert_eq!(log.renew_as(gap.clone()).unwrap().share.connections, 20_000, "5,000 given back");
    assert_eq!(log.renew_as(gap), Err(Reason::StaleSeq { node: 1, seq: 5 }));
    let older = Renewal { seq: 4, ..renewal(1, &share, 25_000, 25_000) };
    assert_eq!(log.renew_as(older), Err(Reason::StaleSeq { node: 1, seq: 5 }));
    assert_eq!(log.granted(1), 20_000);
    let other = Renewal { session: share.session + 1, seq: 9, ..renewal(1, &share, 0, 0) };
    let session = share.session;
    assert_eq!(log.renew_as(other), Err(Reason::StaleSession { node: 1, session }));
    let more = Renewal { seq: 6, ..renewal(1, &share, 90_000, 0) };
    assert_eq!(log.renew_as(more).unwrap().share.connections, 20_000, "nobody holds more than was granted");
    let many = vec![renewal(1, &share, 0, 0); 65];
    assert!(matches!(log.apply(Command::Renew { renewals: many }), Receipt::Refused(Reason::Full { .. })));
}

#[test]
fn a_grant_is_within_what_is_free_what_is_wanted_and_what_the_node_can_serve() {
    let mut log = Log::all_open(4, 100_000);
    for node in 2..=4 {
        log.renew(node, 50, 50).unwrap();
    }
    assert_eq!(log.ledger.free(), 74_850);
    assert_eq!(log.renew(1, 25_000, 26_000).unwrap().share.connections, 26_000);
    assert_eq!(log.renew(1, 26_000, 90_000).unwrap().share.connections, 26_000 + CHUNK_MAX);
    let share = log.share(1).clone();
    let small = Renewal { seq: share.seq + 1, ceiling: 31_500, ..renewal(1, &share, 31_000, 90_000) };
    assert_eq!(log.renew_as(small).unwrap().share.connections, 31_500, "its open files set a bound");
    let mut held = 31_500;
    for _ in 0..40 {
        let share = log.share(1).clone();
        let next = Renewal {
            seq: share.seq + 1,
            ceiling: 1_000_000,
            ..renewal(1, &share, held, held.saturating_add(5_000))
        };
        held = log.renew_as(next).unwrap().share.connections;
    }
    assert_eq!((held, log.ledger.free()), (99_850, 0), "one node may have all that the others do not hold");
}

#[test]
fn a_node_above_its_part_waits_for_those_below_theirs() {
    let mut log = Log::all_open(4, 1_000);
    log.renew(2, 100, 100).unwrap();
    log.renew(1, 250, 400).unwrap();
    assert_eq!((log.granted(1), log.ledger.free()), (400, 0));
    log.renew(2, 100, 250).unwrap();
    assert_eq!(log.granted(2), 100, "nothing is free yet");
    log.renew(1, 350, 500).unwrap();
    assert_eq!((log.granted(1), log.ledger.free()), (350, 50), "node 2 lacks more than is free");
    log.renew(2, 100, 250).unwrap();
    assert_eq!(log.granted(2), 150);
}

#[test]
fn an_idle_share_is_refilled_while_much_is_free_and_nobody_waits() {
    let mut log = Log::all_open(4, 1_000);
    for node in 1..=4 {
        log.renew(node, 10, 10).unwrap();
    }
    assert_eq!(log.granted(4), 10, "the fourth has just given its own back");
    log.renew(1, 10, 10).unwrap();
    assert_eq!(log.granted(1), 250);
    log.renew(2, 10, 900).unwrap();
    assert_eq!(log.granted(2), 370, "half of the 720 that are free");
    log.renew(3, 10, 10).unwrap();
    assert_eq!(log.granted(3), 10, "node 2 waits");
}

#[test]
fn a_target_ends_with_the_renewal_that_meets_it_and_gives_nothing_in_it() {
    let mut log = Log::all_open(4, 1_000);
    let targets = BTreeMap::from([(1, Some(100)), (2, Some(250)), (9, Some(1))]);
    assert_eq!(log.apply(Command::SetTargets { targets }), Receipt::Done);
    assert_eq!((log.share(1).target, log.share(2).target), (Some(100), None), "250 are not fewer than 250");
    let share = log.share(1).clone();
    assert_eq!(log.renew(1, 180, 300).unwrap().target, Some(100), "not there yet");
    assert_eq!(log.granted(1), 180);
    assert_eq!(log.renew(1, 100, 300).unwrap().target, None);
    assert_eq!((log.granted(1), log.ledger.free()), (100, 150));
    assert_eq!(log.share(1).session, share.session);
    log.renew(1, 100, 300).unwrap();
    assert_eq!(log.granted(1), 250, "a target that ended does not cap growth");
    log.apply(Command::SetTargets { targets: BTreeMap::from([(3, Some(7))]) });
    log.apply(Command::SetTargets { targets: BTreeMap::from([(3, None)]) });
    assert_eq!(log.share(3).target, None, "taken back");
}

#[test]
fn a_lowered_limit_takes_effect_as_nodes_release() {
    let mut log = Log::all_open(4, 1_000);
    log.set_limit(400);
    assert_eq!((log.ledger.granted(), log.ledger.free()), (1_000, 0));
    assert!((1..=4).all(|node| log.share(node).target == Some(100)), "every share has a target");
    log.apply(Command::SetTargets { targets: BTreeMap::from([(1, None)]) });
    assert_eq!(log.share(1).target, Some(100), "above the limit nobody is let off");
    assert_eq!(log.renew(1, 250, 500).unwrap().share.connections, 250, "no apply raises the sum");
    for node in 2..=4 {
        let target = log.share(node).target.unwrap();
        log.renew(node, target, 500).unwrap();
    }
    assert_eq!(log.ledger.granted(), 550);
    for _ in 0..9 {
        for node in 2..=4 {
            let target = log.share(node).target.unwrap_or(log.granted(node));
            log.renew(node, target, target).unwrap();
        }
    }
    assert!(
        log.ledger.granted() <= 400,
        "{}: the idle make room for the one that cannot",
        log.ledger.granted()
    );
    assert!(log.ledger.shares().values().all(|share| share.target.is_none()), "and nobody is recalled more");
}

#[test]
fn a_share_expires_only_if_it_was_not_renewed_since() {
    let mut log = Log::all_open(4, 1_000);
    let share = log.share(1).clone();
    let expire = |session, renewed_at| Command::Expire { node: 1, session, renewed_at };
    log.renew(1, 250, 250).unwrap();
    let renewed_at = log.share(1).renewed_at;
    let raced = Reason::Renewed { node: 1, renewed_at };
    assert_eq!(log.apply(expire(share.session, share.renewed_at)), Receipt::Refused(raced));
    let stale = Reason::StaleSession { node: 1, session: share.session };
    assert_eq!(log.apply(expire(share.session + 1, renewed_at)), Receipt::Refused(stale));
    assert_eq!(log.apply(expire(share.session, renewed_at)), Receipt::Done);
    assert_eq!((log.ledger.shares().get(&1), log.ledger.free()), (None, 250));
    let late = Renewal { seq: 9, ..renewal(1, &share, 250, 250) };
    assert_eq!(log.renew_as(late), Err(Reason::StaleSession { node: 1, session: 0 }));
    log.open(opening(1, 8, 1, None)).unwrap();
}

#[test]
fn the_lease_of_a_share_is_the_longer_of_what_the_node_knows_and_what_it_is_offered() {
    let mut log = Log::all_open(4, 1_000);
    let set = |lease_ms| Command::SetLease { lease_ms, drift_ppm: 10_000, margin_ms: 500 };
    log.apply(set(Some(5_000)));
    assert_eq!(log.share(1).lease_ms, Some(30_000), "the node has not heard of it");
    assert_eq!(log.renew(1, 250, 250).unwrap().lease_ms, Some(5_000));
    assert_eq!(log.share(1).lease_ms, Some(30_000), "it last accepted 30 s, and may never see this answer");
    let share = log.share(1).clone();
    let heard = Renewal { seq: share.seq + 1, lease_ms: Some(5_000), ..renewal(1, &share, 250, 250) };
    log.renew_as(heard).unwrap();
    assert_eq!(log.share(1).lease_ms, Some(5_000));
    log.apply(set(None));
    log.renew(1, 250, 250).unwrap();
    assert_eq!(log.share(1).lease_ms, None, "never is the longest");
}

#[test]
fn the_share_of_a_removed_member_is_an_orphan_until_it_expires() {
    let mut log = Log::all_open(4, 1_000);
    let remove = |node, dead, now| Command::RemoveMember {
        node,
        incarnation: Some(Incarnation::new(u128::from(node))),
        dead,
        now,
    };
    assert_eq!(log.apply(remove(2, true, false)), Receipt::Done);
    let orphan = log.share(2).clone();
    assert!(orphan.orphan);
    let claim = MemberClaim { incarnation: Incarnation::new(22), ..claim(2) };
    log.apply(Command::PutMember { node: 2, claim, returning: false });
    let next = Opening { incarnation: Incarnation::new(22), ..opening(2, 5, 1, Some(orphan.session)) };
    let busy = Reason::Busy { node: 2, session: orphan.session };
    assert_eq!(log.open(next), Err(busy), "the old process may still serve");
    let stale = Reason::StaleSession { node: 2, session: orphan.session };
    assert_eq!(log.renew(2, 250, 250), Err(stale), "which nobody renews");
    let expire = Command::Expire { node: 2, session: orphan.session, renewed_at: orphan.renewed_at };
    assert_eq!(log.apply(expire), Receipt::Done);
    log.open(next).unwrap();
    assert_eq!(log.renew(2, 0, 0).unwrap().share.connections, 250);
    let doubled = Reason::OtherIncarnation { node: 2, known: Incarnation::new(22) };
    assert_eq!(
        log.apply(remove(2, true, false)),
        Receipt::Refused(doubled),
        "the life that joined since stays"
    );
}

#[test]
fn a_share_that_never_ends_goes_only_at_the_word_that_its_node_no_longer_runs() {
    let mut log = Log::all_open(4, 1_000);
    log.apply(Command::SetLease { lease_ms: None, drift_ppm: 10_000, margin_ms: 500 });
    log.renew(2, 250, 250).unwrap();
    log.apply(Command::SetLease { lease_ms: Some(5_000), drift_ppm: 10_000, margin_ms: 500 });
    let remove = |dead, now| Command::RemoveMember { node: 2, incarnation: None, dead, now };
    let held = Reason::ShareHeld { node: 2, connections: 250 };
    assert_eq!(log.apply(remove(true, false)), Receipt::Refused(held.clone()));
    log.apply(Command::SetDraining { node: 2, draining: true });
    assert_eq!(log.apply(remove(false, true)), Receipt::Refused(held));
    assert_eq!(log.apply(remove(true, true)), Receipt::Done);
    assert_eq!((log.ledger.shares().get(&2), log.ledger.free()), (None, 250));
}

#[test]
fn a_draining_node_gets_nothing_and_a_share_given_back_lets_its_member_go() {
    let mut log = Log::all_open(4, 1_000);
    log.apply(Command::SetDraining { node: 3, draining: true });
    log.renew(3, 100, 900).unwrap();
    assert_eq!(log.granted(3), 100);
    log.renew(3, 0, 900).unwrap();
    log.open(opening(3, 33, 1, None)).unwrap();
    log.renew(3, 0, 900).unwrap();
    assert_eq!(log.granted(3), 0, "the first renewal of a session gives nothing either");
    let remove = Command::RemoveMember { node: 3, incarnation: None, dead: false, now: false };
    assert_eq!(log.apply(remove), Receipt::Done);
    assert_eq!(log.ledger.shares().get(&3), None);
}
