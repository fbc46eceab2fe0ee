//! Receipts, debts, and disks that are replaced.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::world::*;
use crate::catalog::keys::Bodies;
use crate::catalog::rows::DebtRow;
use crate::catalog::*;
use crate::machine::{Invalid, Machine};
use crate::types::{Incarnation, ReplicaId, SessionId};

fn first_disk(node: u8) -> Disk {
    Disk { node: ReplicaId::new(node), incarnation: Incarnation::ZERO }
}

/// The replicas that own chunk `index`, and then those that do not.
fn order(id: BodyId, index: u32) -> Vec<ReplicaId> {
    LAYOUT.order(id.chunk(index)).collect()
}

/// A body of one chunk with receipts of these disks.
fn held_by(id: BodyId, disks: &[Disk]) -> NewBody {
    received(chunked_body(100), id, |_| disks.to_vec())
}

impl World {
    fn unused(&mut self) -> BodyId {
        self.stored(100).0
    }

    fn try_put_held(&mut self, key: &[u8], id: BodyId, nodes: &[ReplicaId]) -> Reply {
        let disks: Vec<Disk> = nodes.iter().map(|node| self.disk(*node)).collect();
        self.try_put(key, Conditions::none(), held_by(id, &disks))
    }

    /// Puts an object whose only chunk has these replicas in place of its owners, so many of them.
    fn put_indebted(&mut self, key: &[u8], owners: usize) -> (BodyId, Vec<ReplicaId>) {
        let id = self.unused();
        let order = order(id, 0);
        let holders: Vec<ReplicaId> = order[..owners].iter().chain(&order[3..]).copied().collect();
        written(self.try_put_held(key, id, &holders));
        (id, order[owners..3].to_vec())
    }

    fn disk(&self, node: ReplicaId) -> Disk {
        Disk { node, incarnation: self.incarnations[node.index()] }
    }

    fn replace_disk(&mut self, node: ReplicaId) {
        self.incarnations[node.index()] = Incarnation::from_rejoin(self.op.next());
    }

    fn debts_of(&self, node: Option<ReplicaId>) -> Vec<Debt> {
        match self.query(Query::ListDebts { node, after: None, limit: 1000 }) {
            Answer::Debts { debts, next: None } => debts,
            other => panic!("{other:?}"),
        }
    }

    fn debt(&self, id: BodyId) -> Option<Debt> {
        self.debts_of(None).into_iter().find(|debt| debt.id == id)
    }

    fn settle(&mut self, disk: Disk, bodies: &[BodyId]) -> Reply {
        let Disk { node, incarnation } = disk;
        self.apply(Operation::Settle { node, incarnation, bodies: bodies.to_vec() })
    }

    fn rebuilt(&mut self, disk: Disk) -> Reply {
        self.apply(Operation::Rebuilt { node: disk.node, incarnation: disk.incarnation })
    }

    fn rebuilding(&self) -> Vec<Disk> {
        match self.query(Query::Rebuilding) {
            Answer::Rebuilding { disks } => disks,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_body_that_all_owners_hold_owes_nothing() {
    let mut world = World::new();
    world.put_chunked(b"k");
    assert_eq!(world.debts_of(None), []);
    assert_eq!(world.tables.count(Bodies::Debts as u8), 0);
}

#[test]
fn a_body_on_too_few_disks_is_refused_and_may_come_again_with_more_receipts() {
    let mut world = World::new();
    let id = world.unused();
    let order = order(id, 0);
    let before = world.tables.rows.clone();
    assert_eq!(world.try_put_held(b"k", id, &order[..2]), Err(Error::TooFewCopies));
    assert_eq!(world.try_put_held(b"k", id, &[]), Err(Error::TooFewCopies));
    assert_eq!(world.tables.rows, before);
    written(world.try_put_held(b"k", id, &order[..3]));
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Referenced);
}

#[test]
fn a_part_needs_as_many_copies_as_an_object() {
    let mut world = World::new();
    let id = world.unused();
    let upload = world.create_upload(b"k");
    let two = held_by(id, &[first_disk(0), first_disk(1)]);
    assert_eq!(world.put_part(b"k", upload, 1, two), Err(Error::TooFewCopies));
    let three = held_by(id, &[0, 1, 2].map(first_disk));
    world.put_part(b"k", upload, 1, three).unwrap();
}

#[test]
fn the_chunk_with_the_fewest_copies_decides() {
    let mut world = World::new();
    let (id, _) = world.stored(250);
    let all = world.owners(id);
    let holders = |rare: usize| {
        let all = &all;
        received(chunked_body(250), id, move |index| {
            let disks = all(index);
            if index == 1 { disks[..rare].to_vec() } else { disks }
        })
    };
    assert_eq!(world.try_put(b"k", Conditions::none(), holders(2)), Err(Error::TooFewCopies));
    written(world.try_put(b"k", Conditions::none(), holders(3)));
}

#[test]
fn a_replica_that_is_named_twice_is_one_copy() {
    let mut world = World::new();
    let id = world.unused();
    let order = order(id, 0);
    let twice = [order[0], order[1], order[1], order[0]];
    assert_eq!(world.try_put_held(b"k", id, &twice), Err(Error::TooFewCopies));
}

/// The disk that gave the receipt is gone, and the chunk with it.
#[test]
fn a_receipt_of_a_replaced_disk_does_not_count() {
    let mut world = World::new();
    let id = world.unused();
    let order = order(id, 0);
    let old: Vec<Disk> = order.iter().map(|node| world.disk(*node)).collect();
    world.replace_disk(order[1]);
    assert_eq!(world.try_put(b"k", Conditions::none(), held_by(id, &old[..3])), Err(Error::TooFewCopies));

    // With enough others it does no harm either: the replica owes what its new disk lacks.
    written(world.try_put(b"k", Conditions::none(), held_by(id, &old[..4])));
    let debt = world.debt(id).unwrap();
    assert!(debt.is_owed_by(order[1]));
    assert_eq!((debt.missing.count_ones(), debt.copies_min), (1, 3));
}

/// Nobody has such a disk yet: whoever says so is not the replica.
#[test]
fn a_receipt_of_a_disk_to_come_does_not_count() {
    let mut world = World::new();
    let id = world.unused();
    let order = order(id, 0);
    let mut disks: Vec<Disk> = order[..3].iter().map(|node| world.disk(*node)).collect();
    disks[0].incarnation = Incarnation::new(1_000_000);
    assert_eq!(world.try_put(b"k", Conditions::none(), held_by(id, &disks)), Err(Error::TooFewCopies));
}

#[test]
fn a_replica_that_the_cluster_does_not_have_does_not_count() {
    let mut world = World::new();
    let id = world.unused();
    let disks = [first_disk(0), first_disk(1), first_disk(5), first_disk(6)];
    assert_eq!(world.try_put(b"k", Conditions::none(), held_by(id, &disks)), Err(Error::TooFewCopies));
}

#[test]
fn receipts_of_another_layout_are_refused() {
    let mut world = World::new();
    let (_, mut body) = world.stored(100);
    if let NewBody::Chunked { layout, .. } = &mut body {
        *layout += 1;
    }
    let bytes = put("bucket", b"k", Conditions::none(), world.new_etag(), body).to_bytes();
    assert_eq!(world.apply_bytes(ALICE, &bytes), Err(Error::WrongLayout));
}

/// The number is looked at first: who asks for more receipts for a number that is spent asks in vain.
#[test]
fn a_spent_or_fenced_number_is_refused_as_such_whatever_its_receipts() {
    let mut world = World::new();
    let id = world.put_chunked(b"k");
    assert_eq!(world.try_put_held(b"k", id, &[]), Err(Error::UploadSpent));
    world.advance_marks(id.upload + 1);
    assert_eq!(world.try_put_held(b"k", id, &[]), Err(Error::UploadFenced));
}

/// A receipt names the body, so nobody can commit what another session stored.
#[test]
fn receipts_that_were_not_given_for_this_body_are_refused_before_the_log() {
    let mut world = World::new();
    let (id, body) = world.stored(250);
    let NewBody::Chunked { upload, body, layout, receipts } = body else { panic!() };
    let operation = |upload, body: &ChunkedBody, receipts: &[_]| {
        let (body, receipts) = (body.clone(), receipts.to_vec());
        let body = NewBody::Chunked { upload, body, layout, receipts };
        put("bucket", b"k", Conditions::none(), ETag::simple([1; 16]), body).to_bytes()
    };
    let verdict = |session, bytes: &Bytes| world.catalog.validate(session, bytes);
    let forged = Err(Invalid("a receipt is not genuine"));
    assert_eq!(verdict(ALICE, &operation(upload, &body, &receipts)), Ok(()));
    assert_eq!(verdict(SessionId::new(2), &operation(upload, &body, &receipts)), forged);
    assert_eq!(verdict(ALICE, &operation(upload + 1, &body, &receipts)), forged);

    let mut other_bytes = body.clone();
    other_bytes.roots[2].0[0] ^= 1;
    assert_eq!(verdict(ALICE, &operation(upload, &other_bytes, &receipts)), forged);
    let mut other_length = body.clone();
    other_length.length -= 1;
    assert_eq!(verdict(ALICE, &operation(upload, &other_length, &receipts)), forged);

    let mut later = receipts.clone();
    later[0].incarnation = Incarnation::new(1);
    assert_eq!(verdict(ALICE, &operation(upload, &body, &later)), forged);
    let mut elsewhere = receipts.clone();
    elsewhere[0].chunk = 1;
    assert_eq!(verdict(ALICE, &operation(upload, &body, &elsewhere)), forged);
    let mut beyond = receipts.clone();
    beyond[0].chunk = 3;
    let bytes = operation(upload, &body, &beyond);
    assert_eq!(verdict(ALICE, &bytes), Err(Invalid("a receipt is of a chunk beyond the end")));
    let many = receipts.repeat(3);
    let bytes = operation(upload, &body, &many);
    assert_eq!(verdict(ALICE, &bytes), Err(Invalid("the body has too many receipts")));
    assert_eq!(world.apply_bytes(ALICE, &bytes), Err(Error::Malformed));
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Pending);
}

#[test]
fn what_owners_lack_while_others_stand_in_is_debt_until_they_have_it() {
    let mut world = World::new();
    let (id, owing) = world.put_indebted(b"k", 1);
    let [first, second] = owing[..] else { panic!() };
    let debt = world.debt(id).unwrap();
    assert_eq!(
        (debt.missing, debt.copies_min, debt.chunk_count),
        (1 << first.get() | 1 << second.get(), 3, 1)
    );

    assert_eq!(world.settle(world.disk(first), &[id]), Ok(Success::Settled { bodies: 1 }));
    assert_eq!(world.debt(id).unwrap().missing, 1 << second.get());
    assert_eq!(world.settle(world.disk(first), &[id]), Ok(Success::Settled { bodies: 0 }));
    assert_eq!(world.settle(world.disk(second), &[id, id]), Ok(Success::Settled { bodies: 1 }));
    assert_eq!(world.debt(id), None);
    assert_eq!(world.tables.count(Bodies::Debts as u8), 0);
}

/// A body has many chunks, and who owns them differs: an owner of one owes nothing of another.
#[test]
fn a_replica_owes_a_body_if_it_lacks_any_chunk_that_it_owns() {
    let mut world = World::new();
    let (id, _) = world.stored(500);
    let all = world.owners(id);
    let lacking = order(id, 3)[0];
    let stand_in = world.disk(order(id, 3)[4]);
    let body = received(chunked_body(500), id, |index| {
        let mut disks = all(index);
        if index == 3 {
            disks[0] = stand_in;
            disks.push(stand_in);
        }
        disks
    });
    written(world.try_put(b"k", Conditions::none(), body));
    let debt = world.debt(id).unwrap();
    assert_eq!((debt.missing, debt.copies_min, debt.chunk_count), (1 << lacking.get(), 3, 5));
}

#[test]
fn only_the_present_disk_of_a_replica_can_settle_its_debts() {
    let mut world = World::new();
    let (id, owing) = world.put_indebted(b"k", 2);
    let old = world.disk(owing[0]);
    world.replace_disk(owing[0]);
    let before = world.tables.rows.clone();
    assert_eq!(world.settle(old, &[id]), Err(Error::DiskReplaced));
    let nobody = Disk { node: ReplicaId::new(9), incarnation: Incarnation::ZERO };
    let settle = Operation::Settle { node: nobody.node, incarnation: nobody.incarnation, bodies: vec![id] };
    assert_eq!(world.apply_bytes(ALICE, &settle.to_bytes()), Err(Error::Malformed));
    assert_eq!(world.tables.rows, before);
    assert_eq!(world.settle(world.disk(owing[0]), &[id]), Ok(Success::Settled { bodies: 1 }));
}

#[test]
fn a_debt_lasts_as_long_as_its_body_and_ends_with_it() {
    let mut world = World::new();
    let (id, owing) = world.put_indebted(b"k", 2);
    world.copy(b"k", b"l").unwrap();
    world.delete(b"k");
    assert!(world.debt(id).is_some());
    world.delete(b"l");
    assert_eq!(world.debt(id), None);
    assert_eq!(world.verdict(id.chunk(0)), Verdict::Retiring);
    assert_eq!(world.settle(world.disk(owing[0]), &[id]), Ok(Success::Settled { bodies: 0 }));
}

#[test]
fn debts_are_listed_page_by_page_for_all_or_for_one() {
    let mut world = World::new();
    let mut owed: BTreeMap<ReplicaId, Vec<BodyId>> = BTreeMap::new();
    let mut ids = Vec::new();
    for number in 0..12 {
        let (id, owing) = world.put_indebted(&[number], 2);
        owed.entry(owing[0]).or_default().push(id);
        ids.push(id);
    }
    let walk = |node, limit| {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let Answer::Debts { debts, next } = world.query(Query::ListDebts { node, after, limit }) else {
                panic!()
            };
            assert!(debts.len() <= limit as usize);
            found.extend(debts.iter().map(|debt| debt.id));
            after = next;
            if next.is_none() {
                return found;
            }
        }
    };
    assert!(owed.len() > 1);
    for limit in [1, 2, 5, 1000] {
        assert_eq!(walk(None, limit), ids);
        for (node, ids) in &owed {
            assert_eq!(walk(Some(*node), limit), *ids);
        }
    }
    let none = Query::ListDebts { node: None, after: None, limit: 0 };
    assert_eq!(world.query(none), Answer::Debts { debts: Vec::new(), next: None });
}

/// While one replica is down for long, all others ask in vain among its debts.
#[test]
fn a_query_looks_at_a_bounded_number_of_debts_and_says_where_to_go_on() {
    let mut world = World::new();
    let id = |upload| BodyId { session: ALICE, upload };
    for upload in 0..9_000 {
        let owing = if upload == 8_999 { 1 << 4 } else { 1 << 2 };
        let row = DebtRow { missing: owing, copies_min: 3, chunk_count: 1 };
        world.tables.rows.insert(Bodies::Debts.row(id(upload)), row.to_bytes());
    }
    world.tables.forget_counts();
    let ask = |after| Query::ListDebts { node: Some(ReplicaId::new(4)), after, limit: 10 };
    let Answer::Debts { debts, next } = world.query(ask(None)) else { panic!() };
    assert_eq!(debts, []);
    assert!(next.is_some() && world.tables.visits.get() < 8_500);
    let Answer::Debts { debts, next } = world.query(ask(next)) else { panic!() };
    assert_eq!((debts.len(), debts[0].id, next), (1, id(8_999), None));
}

#[test]
fn bodies_are_told_in_the_order_asked_for_and_absent_ones_left_out() {
    let mut world = World::new();
    let ids: Vec<BodyId> = (0..3).map(|number| world.put_chunked(&[b'a' + number])).collect();
    world.delete(b"b");
    let unknown = BodyId { session: ALICE, upload: 99 };
    let ask = |bodies| match world.query(Query::GetBodies { bodies }) {
        Answer::Bodies { bodies, truncated } => {
            (bodies.iter().map(|body| body.id).collect::<Vec<_>>(), truncated)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(vec![ids[2], unknown, ids[1], ids[0]]), (vec![ids[2], ids[0]], false));
    assert_eq!(ask(vec![unknown]), (vec![], false));
    assert_eq!(ask(vec![]), (vec![], false));
    let too_many = Query::GetBodies { bodies: vec![unknown; BODY_COUNT_MAX + 1] };
    assert!(too_many.check().is_err());
}

/// A body may have a thousand roots, and a thousand bodies may be asked for.
#[test]
fn a_page_of_bodies_ends_before_it_is_too_large_for_a_message() {
    let mut world = World::new();
    let length = 100 * CHUNK_COUNT_MAX as u64;
    let ids: Vec<BodyId> = (0..40)
        .map(|number| {
            let (id, body) = world.stored(length);
            written(world.try_put(&[number], Conditions::none(), body));
            id
        })
        .collect();
    let query = Query::GetBodies { bodies: ids.clone() };
    let Answer::Bodies { bodies, truncated } = world.query(query.clone()) else { panic!() };
    assert!(truncated);
    assert!(bodies.iter().map(|body| body.id).eq(ids[..bodies.len()].iter().copied()));
    assert!(world.query(query).to_bytes().len() < crate::message::MESSAGE_SIZE_MAX - 1024);
    let Answer::Bodies { truncated, .. } =
        world.query(Query::GetBodies { bodies: ids[bodies.len()..].to_vec() })
    else {
        panic!()
    };
    assert!(!truncated);
}

#[test]
fn a_new_disk_is_to_be_rebuilt_until_it_says_that_it_is_and_a_first_disk_is_not() {
    let mut world = World::new();
    assert_eq!(world.rebuilding(), []);
    let node = ReplicaId::new(3);
    let old = world.disk(node);
    world.replace_disk(node);
    let new = world.disk(node);
    assert_eq!(world.rebuilding(), [new]);
    assert_eq!(world.rebuilt(old), Err(Error::DiskReplaced));
    assert_eq!(world.rebuilding(), [new]);
    assert_eq!(world.rebuilt(new), Ok(Success::Done));
    assert_eq!(world.rebuilt(new), Ok(Success::Done));
    assert_eq!(world.rebuilding(), []);
    world.apply(Operation::DeleteAccessKey { id: "AK".into() }).unwrap_err();
    world.replace_disk(node);
    assert_eq!(world.rebuilding(), [world.disk(node)]);
    assert_eq!(world.rebuilt(new), Err(Error::DiskReplaced));
}

/// One step of a random history of copies.
#[derive(Clone, Debug)]
enum Step {
    /// For each chunk so many of its order hold it, the first of them left out, one on an old disk.
    Put {
        key: u8,
        chunks: Vec<(usize, bool, bool)>,
    },
    Delete {
        key: u8,
    },
    Copy {
        from: u8,
        to: u8,
    },
    Replace {
        node: u8,
    },
    Settle {
        node: u8,
        stale: bool,
        uploads: std::ops::Range<u64>,
    },
    Rebuilt {
        node: u8,
        stale: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..4_u8;
    let node = || 0..5_u8;
    let chunk = (2..6_usize, any::<bool>(), proptest::bool::weighted(0.1));
    prop_oneof![
        4 => (key(), proptest::collection::vec(chunk, 1..4)).prop_map(|(key, chunks)| Step::Put { key, chunks }),
        1 => key().prop_map(|key| Step::Delete { key }),
        1 => (key(), key()).prop_map(|(from, to)| Step::Copy { from, to }),
        1 => node().prop_map(|node| Step::Replace { node }),
        2 => (node(), proptest::bool::weighted(0.2), 0..30_u64, 1..30_u64)
            .prop_map(|(node, stale, from, count)| Step::Settle { node, stale, uploads: from..from + count }),
        1 => (node(), proptest::bool::weighted(0.2)).prop_map(|(node, stale)| Step::Rebuilt { node, stale }),
    ]
}

/// What the disks truly hold, told by the disks.
struct Truth {
    world: World,
    /// How many chunks each body has.
    chunks: BTreeMap<BodyId, u32>,
    held: BTreeSet<(BodyId, u32, ReplicaId, Incarnation)>,
}

impl Truth {
    fn take(&mut self, step: Step) {
        let world = &mut self.world;
        let stale_disk = |world: &World, node, stale| {
            let disk = world.disk(ReplicaId::new(node));
            let incarnation = if stale { disk.incarnation.next() } else { disk.incarnation };
            Disk { incarnation, ..disk }
        };
        match step {
            Step::Put { key, chunks } => self.put(key, &chunks),
            Step::Delete { key } => drop(world.delete(&[key])),
            Step::Copy { from, to } => drop(world.copy(&[from], &[to])),
            Step::Replace { node } => world.replace_disk(ReplicaId::new(node)),
            Step::Settle { node, stale, uploads } => {
                let disk = stale_disk(world, node, stale);
                let bodies: Vec<BodyId> = uploads.map(|upload| BodyId { session: ALICE, upload }).collect();
                let reply = world.settle(disk, &bodies);
                assert_eq!(reply.is_ok(), !stale);
                if !stale {
                    self.whole(disk, &bodies);
                }
            }
            Step::Rebuilt { node, stale } => {
                let disk = stale_disk(world, node, stale);
                assert_eq!(world.rebuilt(disk).is_ok(), !stale);
                if !stale {
                    let all: Vec<BodyId> = self.chunks.keys().copied().collect();
                    self.whole(disk, &all);
                }
            }
        }
    }

    fn put(&mut self, key: u8, chunks: &[(usize, bool, bool)]) {
        let id = self.world.unused();
        let count = u32::try_from(chunks.len()).unwrap();
        let mut disks: Vec<Vec<Disk>> = Vec::new();
        for (index, (most, without_first, stale)) in (0..).zip(chunks) {
            let order = LAYOUT.order(id.chunk(index)).skip(usize::from(*without_first)).take(*most);
            let mut held: Vec<Disk> = order.map(|node| self.world.disk(node)).collect();
            if *stale {
                held[0].incarnation = held[0].incarnation.next();
            }
            disks.push(held);
        }
        let body = received(chunked_body(100 * u64::from(count)), id, |index| disks[index as usize].clone());
        let present = |disk: &&Disk| **disk == self.world.disk(disk.node);
        let fewest = disks.iter().map(|held| held.iter().filter(present).count()).min().unwrap();
        for (index, held) in (0..).zip(&disks) {
            for disk in held.iter().filter(present) {
                self.held.insert((id, index, disk.node, disk.incarnation));
            }
        }
        match self.world.try_put(&[key], Conditions::none(), body) {
            Ok(_) => assert!(fewest >= LAYOUT.copies_min()),
            Err(error) => {
                assert_eq!(error, Error::TooFewCopies);
                assert!(fewest < LAYOUT.copies_min());
            }
        }
        self.chunks.insert(id, count);
    }

    /// The disk has fetched whatever it lacked of these bodies.
    fn whole(&mut self, disk: Disk, bodies: &[BodyId]) {
        for id in bodies {
            for index in 0..self.chunks.get(id).copied().unwrap_or(0) {
                self.held.insert((*id, index, disk.node, disk.incarnation));
            }
        }
    }

    /// Whatever an owner lacks is known: by a debt, or because all that it owns is to be fetched.
    fn check(&self) {
        let rebuilding = self.world.rebuilding();
        let Answer::Bodies { bodies, .. } = self.world.query(Query::ListBodies { after: None, limit: 1000 })
        else {
            panic!()
        };
        let listed: BTreeSet<BodyId> = bodies.iter().map(|body| body.id).collect();
        for id in &listed {
            let debt = self.world.debt(*id);
            for index in 0..self.chunks[id] {
                for owner in LAYOUT.owners(id.chunk(index)) {
                    let disk = self.world.disk(owner);
                    let known = debt.is_some_and(|debt| debt.is_owed_by(owner)) || rebuilding.contains(&disk);
                    let held = self.held.contains(&(*id, index, owner, disk.incarnation));
                    assert!(held || known, "{disk:?} lacks chunk {index} of {id:?}, and nobody knows");
                }
            }
        }
        for debt in self.world.debts_of(None) {
            assert!(debt.missing != 0 && listed.contains(&debt.id), "{debt:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_below_target_is_known_whatever_happens_to_disks(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut truth =
            Truth { world: World::new(), chunks: BTreeMap::new(), held: BTreeSet::new() };
        for step in steps {
            truth.take(step);
            truth.check();
        }

        // And it shrinks to nothing once everybody has fetched what they owe.
        for node in (0..5).map(ReplicaId::new) {
            let disk = truth.world.disk(node);
            let owed: Vec<BodyId> = truth.world.debts_of(Some(node)).iter().map(|debt| debt.id).collect();
            if !owed.is_empty() {
                let count = u32::try_from(owed.len()).unwrap();
                prop_assert_eq!(truth.world.settle(disk, &owed), Ok(Success::Settled { bodies: count }));
            }
            truth.world.rebuilt(disk).unwrap();
        }
        prop_assert_eq!(truth.world.debts_of(None), []);
        prop_assert_eq!(truth.world.rebuilding(), []);
    }
}
