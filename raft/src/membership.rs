//! Choice of voters: the next step from the membership as it is to the one the ledger asks for.
//!
//! A plain function of facts, so that every rule can be tested without a cluster. One step at a time, always
//! an odd number of voters, and no step that the remaining healthy nodes could not finish. It never takes a
//! vote away because a node is silent unless another is ready to take its place.

use std::collections::{BTreeMap, BTreeSet};

use erlmcp_ledger::{Incarnation, NodeId};

/// State of one node as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// For how long it has answered without a gap; `None` when it is silent now.
    pub(crate) healthy_ms: Option<u64>,
    /// For how long it has been silent.
    pub(crate) silent_ms: u64,
    /// Log entries it is behind; `None` when unknown.
    pub(crate) lag: Option<u64>,
}

/// A member as the ledger wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) incarnation: Incarnation,
    pub(crate) draining: bool,
}

/// Knowledge of a leader when it plans.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) me: NodeId,
    /// The members of the ledger.
    pub(crate) wanted: BTreeMap<NodeId, Wanted>,
    /// The voters of the membership: two sets while a change is under way.
    pub(crate) configs: Vec<BTreeSet<NodeId>>,
    /// All nodes of the membership.
    pub(crate) nodes: BTreeMap<NodeId, Incarnation>,
    pub(crate) health: BTreeMap<NodeId, Health>,
    /// The group has never had three voters: nothing to protect yet, so be quick.
    pub(crate) is_forming: bool,
    pub(crate) promote_after_ms: u64,
    pub(crate) replace_after_ms: u64,
    pub(crate) lag_max: u64,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Finish a change of voters that was interrupted.
    Finish,
    /// Let another voter lead.
    HandOver(NodeId),
    /// Change the voters.
    Vote(BTreeSet<NodeId>),
    /// Stop sending the log to a node.
    Forget(NodeId),
    /// Begin to send the log to a node.
    Learn(NodeId),
}

/// How many should vote in a group of `members`.
pub(crate) fn voters_for(members: usize) -> usize {
    match members {
        0..=2 => 1,
        3..=5 => 3,
        _ => 5,
    }
}

/// The next step, if there is any.
pub(crate) fn plan(facts: &Facts) -> Option<Step> {
    let [voters] = facts.configs.as_slice() else {
        return (facts.configs.len() > 1).then_some(Step::Finish);
    };
    let must_go = facts.wanted.get(&facts.me).is_none_or(|me| me.draining);
    if must_go && let Some(successor) = successor(facts, voters) {
        return Some(Step::HandOver(successor));
    }
    let desired = desired_voters(facts, voters);
    // A change that the living cannot finish stops every write until the silent are back.
    if desired != *voters && has_living_majority(facts, &desired) {
        return Some(Step::Vote(desired));
    }
    let is_member = |node: &NodeId| {
        facts.wanted.get(node).is_some_and(|wanted| facts.nodes.get(node) == Some(&wanted.incarnation))
    };
    if let Some(stranger) = facts.nodes.keys().find(|node| !is_member(node) && !voters.contains(node)) {
        return Some(Step::Forget(*stranger));
    }
    facts.wanted.keys().find(|node| !facts.nodes.contains_key(node)).map(|node| Step::Learn(*node))
}

/// The voters, now or once `leaving` is no member any more, of which too many are silent to decide anything.
pub(crate) fn silent_majority(facts: &Facts, leaving: NodeId) -> Option<BTreeSet<NodeId>> {
    let mut after = facts.clone();
    after.wanted.remove(&leaving);
    let next = facts.configs.last().map(|voters| desired_voters(&after, voters));
    facts.configs.iter().cloned().chain(next).find(|voters| !has_living_majority(facts, voters))
}

fn has_living_majority(facts: &Facts, voters: &BTreeSet<NodeId>) -> bool {
    voters.iter().filter(|node| is_alive(facts, **node)).count() * 2 > voters.len()
}

/// The voter best placed to lead instead of this node: healthy, not draining, least behind.
pub(crate) fn successor(facts: &Facts, voters: &BTreeSet<NodeId>) -> Option<NodeId> {
    let fit = voters
        .iter()
        .filter(|node| **node != facts.me && stays(facts, **node) && !is_draining(facts, **node));
    let healthy = fit.filter_map(|node| {
        let health = facts.health.get(node)?;
        health.healthy_ms?;
        Some((health.lag?, *node))
    });
    healthy.min().map(|(_, node)| node)
}

fn desired_voters(facts: &Facts, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let target = voters_for(facts.wanted.len());
    let is_dead = |node: NodeId| node != facts.me && health(facts, node).silent_ms > facts.replace_after_ms;
    let (mut desired, mut dead): (BTreeSet<_>, BTreeSet<_>) = (BTreeSet::new(), BTreeSet::new());
    // A removed voter holds its place only while a learner is on the way to take it.
    let is_relief_coming = facts.nodes.keys().any(|node| {
        !voters.contains(node) && may_vote(facts, *node) && health(facts, *node).healthy_ms.is_some()
    });
    for node in voters.iter().copied() {
        match stays(facts, node) {
            true if !is_dead(node) => desired.insert(node),
            true => dead.insert(node),
            false => is_relief_coming && dead.insert(node),
        };
    }
    while desired.len() > target {
        let Some(surplus) = last_but_silent_first(facts, &desired, |_| true) else { break };
        desired.remove(&surplus);
    }
    let mut ready =
        facts.nodes.keys().copied().filter(|node| !voters.contains(node) && is_ready(facts, *node));
    // Ready nodes first, then the silent ones keep the places that nobody can take.
    while desired.len() < target {
        let Some(node) = ready.next().or_else(|| dead.pop_first()) else { break };
        desired.insert(node);
    }
    if desired.len().is_multiple_of(2) {
        let newest = last_but_silent_first(facts, &desired, |node| !voters.contains(&node));
        let last = newest.or_else(|| last_but_silent_first(facts, &desired, |_| true));
        if let Some(last) = last {
            desired.remove(&last);
        }
    }
    desired
}

/// Order of giving up a place: a silent node before a living one, then the highest id; never this node.
fn last_but_silent_first(
    facts: &Facts,
    desired: &BTreeSet<NodeId>,
    may_go: impl Fn(NodeId) -> bool,
) -> Option<NodeId> {
    let others = || desired.iter().rev().copied().filter(|node| *node != facts.me && may_go(*node));
    others().find(|node| !is_alive(facts, *node)).or_else(|| others().next())
}

pub(crate) fn is_alive(facts: &Facts, node: NodeId) -> bool {
    node == facts.me || health(facts, node).healthy_ms.is_some()
}

/// In the ledger, in the incarnation that the membership knows.
fn stays(facts: &Facts, node: NodeId) -> bool {
    facts.wanted.get(&node).is_some_and(|wanted| facts.nodes.get(&node) == Some(&wanted.incarnation))
}

fn is_draining(facts: &Facts, node: NodeId) -> bool {
    facts.wanted.get(&node).is_some_and(|wanted| wanted.draining)
}

fn may_vote(facts: &Facts, node: NodeId) -> bool {
    stays(facts, node) && !is_draining(facts, node)
}

/// A learner that may vote now.
fn is_ready(facts: &Facts, node: NodeId) -> bool {
    let health = health(facts, node);
    let patience = if facts.is_forming { 0 } else { facts.promote_after_ms };
    may_vote(facts, node)
        && health.healthy_ms.is_some_and(|time| time >= patience)
        && health.lag.is_some_and(|lag| lag < facts.lag_max)
}

fn health(facts: &Facts, node: NodeId) -> Health {
    facts.health.get(&node).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Health = Health { healthy_ms: Some(10_000), silent_ms: 0, lag: Some(0) };
    const DEAD: Health = Health { healthy_ms: None, silent_ms: 30_001, lag: Some(0) };
    const QUIET: Health = Health { healthy_ms: None, silent_ms: 30_000, lag: Some(0) };

    fn inc(n: u128) -> Incarnation {
        Incarnation::new(n)
    }

    /// A group led by node 1 where the ledger and the log agree; the others are healthy.
    fn facts(voters: &[NodeId], learners: &[NodeId]) -> Facts {
        let all: Vec<NodeId> = voters.iter().chain(learners).copied().collect();
        let wanted = |id: &NodeId| (*id, Wanted { incarnation: inc(u128::from(*id)), draining: false });
        Facts {
            me: 1,
            wanted: all.iter().map(wanted).collect(),
            configs: vec![voters.iter().copied().collect()],
            nodes: all.iter().map(|id| (*id, inc(u128::from(*id)))).collect(),
            health: all.iter().filter(|id| **id != 1).map(|id| (*id, HEALTHY)).collect(),
            is_forming: false,
            promote_after_ms: 5_000,
            replace_after_ms: 30_000,
            lag_max: 250,
        }
    }

    fn vote(voters: &[NodeId]) -> Option<Step> {
        Some(Step::Vote(voters.iter().copied().collect()))
    }

    #[test]
    fn a_group_as_it_should_be_needs_no_step() {
        for (voters, learners) in
            [(&[1][..], &[][..]), (&[1], &[2]), (&[1, 2, 3], &[]), (&[1, 2, 3], &[4, 5])]
        {
            assert_eq!(plan(&facts(voters, learners)), None, "{voters:?} {learners:?}");
        }
        assert_eq!(plan(&facts(&[1, 2, 3, 4, 5], &[6])), None);
    }

    #[test]
    fn an_interrupted_change_is_finished_before_anything_else() {
        let mut facts = facts(&[1, 2, 3], &[4]);
        facts.configs.push(BTreeSet::from([1, 2, 4]));
        facts.wanted.remove(&2);
        assert_eq!(plan(&facts), Some(Step::Finish));
    }

    #[test]
    fn a_new_member_learns_first() {
        let mut facts = facts(&[1, 2, 3], &[]);
        facts.wanted.insert(4, Wanted { incarnation: inc(4), draining: false });
        assert_eq!(plan(&facts), Some(Step::Learn(4)));
    }

    #[test]
    fn three_vote_of_three_to_five_and_five_of_more() {
        assert_eq!(plan(&facts(&[1], &[2])), None, "two cannot outvote a failure: one votes");
        assert_eq!(plan(&facts(&[1], &[2, 3])), vote(&[1, 2, 3]));
        assert_eq!(plan(&facts(&[1], &[2, 3, 4])), vote(&[1, 2, 3]));
        assert_eq!(plan(&facts(&[1, 2, 3], &[4, 5, 6])), vote(&[1, 2, 3, 4, 5]));
        let counts: Vec<usize> = (0..=8).map(voters_for).collect();
        assert_eq!(counts, [1, 1, 1, 3, 3, 3, 5, 5, 5]);
    }

    #[test]
    fn a_learner_gets_a_vote_only_when_it_is_near_and_has_been_healthy_for_a_while() {
        let lagging = |lag| Health { lag, ..HEALTHY };
        let since = |time| Health { healthy_ms: time, ..HEALTHY };
        for (health, is_ready) in [
            (lagging(Some(249)), true),
            (lagging(Some(250)), false),
            (lagging(None), false),
            (since(Some(5_000)), true),
            (since(Some(4_999)), false),
            (since(None), false),
        ] {
            let mut facts = facts(&[1], &[2, 3]);
            facts.health.insert(3, health.clone());
            let expected = if is_ready { vote(&[1, 2, 3]) } else { None };
            assert_eq!(plan(&facts), expected, "{health:?}");
        }
        let mut facts = facts(&[1], &[2, 3]);
        facts.health.insert(3, since(Some(0)));
        facts.is_forming = true;
        assert_eq!(plan(&facts), vote(&[1, 2, 3]), "a first formation does not wait");
    }

    #[test]
    fn a_dead_voter_is_swapped_for_a_ready_standby_and_never_dropped_without_one() {
        let mut group = facts(&[1, 2, 3], &[4]);
        group.health.insert(2, QUIET);
        assert_eq!(plan(&group), None, "30 s have not passed");
        group.health.insert(2, DEAD);
        assert_eq!(plan(&group), vote(&[1, 3, 4]));
        group.health.insert(4, Health { lag: Some(9_999), ..HEALTHY });
        assert_eq!(plan(&group), None, "the standby is not ready");
        let mut group = facts(&[1, 2, 3], &[]);
        group.health.insert(2, DEAD);
        group.health.insert(3, DEAD);
        assert_eq!(plan(&group), None, "a minority does not vote itself a majority");
    }

    #[test]
    fn a_removed_voter_is_replaced_or_the_group_shrinks_to_an_odd_number() {
        let mut group = facts(&[1, 2, 3], &[4]);
        group.wanted.remove(&2);
        assert_eq!(plan(&group), vote(&[1, 3, 4]));
        group.health.insert(4, Health { healthy_ms: Some(10), ..HEALTHY });
        assert_eq!(plan(&group), None, "relief is coming");
        group.health.insert(4, DEAD);
        assert_eq!(plan(&group), vote(&[1]), "no relief: two voters are no better than one");
        let mut group = facts(&[1, 2, 3], &[]);
        group.wanted.remove(&3);
        assert_eq!(plan(&group), vote(&[1]));
    }

    #[test]
    fn a_node_that_left_or_begins_a_new_life_is_forgotten_before_it_learns() {
        let mut group = facts(&[1, 2, 3], &[4]);
        group.wanted.insert(4, Wanted { incarnation: inc(44), draining: false });
        assert_eq!(plan(&group), Some(Step::Forget(4)));
        group.nodes.remove(&4);
        assert_eq!(plan(&group), Some(Step::Learn(4)));
        // A voter with a new incarnation loses its vote first.
        let mut group = facts(&[1, 2, 3], &[4]);
        group.wanted.insert(3, Wanted { incarnation: inc(33), draining: false });
        assert_eq!(plan(&group), vote(&[1, 2, 4]));
    }

    #[test]
    fn a_leader_that_drains_or_left_hands_over_to_the_voter_least_behind() {
        let mut group = facts(&[1, 2, 3], &[4]);
        group.health.insert(2, Health { lag: Some(3), ..HEALTHY });
        group.wanted.insert(1, Wanted { incarnation: inc(1), draining: true });
        assert_eq!(plan(&group), Some(Step::HandOver(3)));
        group.wanted.insert(3, Wanted { incarnation: inc(3), draining: true });
        assert_eq!(plan(&group), Some(Step::HandOver(2)));
        group.health.insert(2, DEAD);
        assert_ne!(plan(&group), Some(Step::HandOver(2)), "never to the dead");
        let mut group = facts(&[1, 2, 3], &[]);
        group.wanted.remove(&1);
        assert_eq!(plan(&group), Some(Step::HandOver(2)));
    }

    #[test]
    fn a_draining_node_gets_no_vote() {
        let mut group = facts(&[1], &[2, 3, 4]);
        group.wanted.insert(3, Wanted { incarnation: inc(3), draining: true });
        assert_eq!(plan(&group), vote(&[1, 2, 4]));
    }

    #[test]
    fn a_lonely_leader_that_was_removed_leaves_the_vote_to_a_learner() {
        let mut group = facts(&[1], &[2]);
        group.wanted.remove(&1);
        assert_eq!(plan(&group), vote(&[2]));
    }

    #[test]
    fn voters_are_always_odd_and_a_newcomer_is_fit() {
        let health = [HEALTHY, DEAD, QUIET, Health { healthy_ms: Some(1), ..HEALTHY }];
        for code in 0..4_u32.pow(4) * 16 {
            let mut group = facts(&[1, 2, 3], &[4, 5]);
            for (at, node) in (2..=5).enumerate() {
                let shift = 2 * u32::try_from(at).unwrap();
                group.health.insert(node, health[(code >> shift) as usize % 4].clone());
                if (code >> (8 + at)) & 1 == 1 {
                    group.wanted.remove(&node);
                }
            }
            let Some(Step::Vote(voters)) = plan(&group) else { continue };
            assert_eq!(voters.len() % 2, 1, "{voters:?} {group:?}");
            let fresh = voters.iter().filter(|node| !group.configs[0].contains(node));
            let sound =
                fresh.clone().all(|node| group.health[node] == HEALTHY && group.wanted.contains_key(node));
            assert!(sound, "an unfit node got a vote: {voters:?} {group:?}");
        }
    }

    #[test]
    fn when_fewer_may_vote_the_silent_go_first() {
        let mut group = facts(&[1, 2, 4, 5, 6], &[3]);
        group.health.insert(2, QUIET);
        group.health.insert(4, QUIET);
        group.wanted.remove(&3);
        assert_eq!(plan(&group), vote(&[1, 5, 6]), "with 2 and 4 nobody could finish it");
        let mut group = facts(&[1, 2, 3, 4], &[]);
        group.health.insert(2, QUIET);
        assert_eq!(plan(&group), vote(&[1, 3, 4]));
    }

    /// All groups of these where every other node is well, silent or dead, and may have left.
    fn groups(voters: &[NodeId], learners: &[NodeId]) -> impl Iterator<Item = Facts> {
        let others: Vec<NodeId> = voters.iter().chain(learners).copied().filter(|node| *node != 1).collect();
        let all_well = facts(voters, learners);
        let count = 6_usize.pow(u32::try_from(others.len()).unwrap());
        (0..count).map(move |mut code| {
            let mut group = all_well.clone();
            for node in &others {
                group.health.insert(*node, [HEALTHY, QUIET, DEAD][code % 3].clone());
                if code / 3 % 2 == 1 {
                    group.wanted.remove(node);
                }
                code /= 6;
            }
            group
        })
    }

    /// Takes the steps of `group` until there is none; the voters then.
    fn settled(mut group: Facts) -> BTreeSet<NodeId> {
        for _ in 0..20 {
            match plan(&group) {
                None => return group.configs.remove(0),
                Some(Step::Vote(voters)) => group.configs = vec![voters],
                Some(Step::Forget(node)) => drop(group.nodes.remove(&node)),
                Some(step) => panic!("{step:?} of {group:?}"),
            }
        }
        panic!("no end: {group:?}");
    }

    #[test]
    fn a_removal_needs_a_living_majority_now_and_then() {
        let (mut possible, mut impossible) = (0, 0);
        for (voters, learners) in [(&[1, 2, 3][..], &[4, 5][..]), (&[1, 2, 3], &[]), (&[1, 2, 3, 4, 5], &[6])]
        {
            for group in groups(voters, learners) {
                let is_well = has_living_majority(&group, &group.configs[0]);
                for leaving in group.wanted.keys().copied().filter(|node| *node != group.me) {
                    let silent = silent_majority(&group, leaving);
                    let mut after = group.clone();
                    after.wanted.remove(&leaving);
                    let is_begun = matches!(plan(&after), Some(Step::Vote(_)));
                    assert!(is_well || silent.is_some(), "{leaving} of {group:?}");
                    assert!(!(is_well && silent.is_some() && is_begun), "{leaving} of {group:?}: {silent:?}");
                    *(if silent.is_none() { &mut possible } else { &mut impossible }) += 1;
                }
            }
        }
        assert!(possible > 1_000 && impossible > 1_000, "{possible} {impossible}");
    }

    #[test]
    fn a_change_of_voters_can_be_finished_by_the_living_and_ends_well_when_all_are_back() {
        let mut votes = 0;
        for (voters, learners) in [
            (&[1, 2, 3][..], &[4, 5][..]),
            (&[1, 2, 3, 4, 5], &[]),
            (&[1, 2, 3, 4, 5], &[6]),
            (&[1, 2, 3], &[4, 5, 6]),
            (&[1, 2, 3, 4, 5], &[6, 7]),
        ] {
            for mut group in groups(voters, learners) {
                if let Some(Step::Vote(new)) = plan(&group) {
                    votes += 1;
                    let living = new.iter().filter(|node| **node == 1 || group.health[node] == HEALTHY);
                    assert!(living.count() * 2 > new.len(), "{new:?} cannot be reached: {group:?}");
                    assert_eq!(new.len() % 2, 1, "{new:?} {group:?}");
                }
                group.health.values_mut().for_each(|health| *health = HEALTHY);
                let members = group.wanted.len();
                assert_eq!(settled(group).len(), voters_for(members));
            }
        }
        assert!(votes > 20_000, "only {votes} changes were looked at");
    }
}
