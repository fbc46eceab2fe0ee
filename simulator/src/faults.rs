//! The troublemaker, and the budget that keeps its deeds survivable.
//!
//! Crashes, pauses, clocks, links, slow and full disks may hit anyone at any time, also all at once:
//! the protocol promises to survive them. Damage to what a disk has promised to keep is another
//! matter: it may hit only so many replicas as may lose their disks. Those are *afflicted*. A replica
//! leaves their number only when an inspection has shown that nothing of the damage is left, for
//! damage that sleeps would add up to more than was ever promised.

mod damage;

use std::collections::{BTreeMap, BTreeSet};

use protocol::tables::{Scan, Tables as _};
use protocol::types::{Op, Peer, ReplicaId};
use protocol::vsr::{Event, StatusName};

use crate::operator;
use crate::options::Options;
use crate::random::Random;
use crate::world::World;
use damage::{Damage, damage, lie, rot_chunks};

/// How often a disk may be damaged before an inspection has found it whole again.
const DAMAGES_MAX: u32 = 2;

/// How far ahead of true time a clock may be set. Cluster time never runs back, so a leap into the
/// future would let every deadline pass for the rest of the run.
const CLOCK_AHEAD_MAX: i64 = 5_000_000;
const CLOCK_BEHIND_MAX: i64 = 3_600_000_000;

pub struct Nemesis {
    pub random: Random,
    /// How many replicas may be afflicted at once.
    afflicted_max: usize,
    afflicted: BTreeMap<usize, Affliction>,
    /// What is undone after a while, and when.
    lifts: Vec<(u64, Lift)>,
    /// How often a machine dies when something was decided, per million.
    fateful_crash: u64,
    ended: bool,
    /// Who stays broken when the troubles end, and who of them is dead.
    outside: BTreeSet<usize>,
    dead: BTreeSet<usize>,
}

/// A replica whose disk was damaged, or will be.
#[derive(Default)]
struct Affliction {
    inspection: Option<Inspection>,
    damages: u32,
    /// A wipe has been decided on and comes a little later.
    doomed: bool,
}

/// The replica was crashed on purpose, so that it reads its whole disk when it starts.
struct Inspection {
    /// The boot that died for it. Only a later one can be healthy.
    boot: u64,
    /// What was committed then: everything of this age must be in its hands.
    committed: Op,
}

pub enum Lift {
    Links(Vec<(Peer, Peer)>),
    Capacity(usize),
    Slowness(usize),
    Wipe(usize),
    Restart(usize),
    NewDisk(usize),
    Release,
}

impl Nemesis {
    pub fn new(options: &Options) -> Nemesis {
        Nemesis {
            random: Random::branch(options.seed, "nemesis"),
            afflicted_max: match options.config.quorums.replica_count {
                // One of two may be lost without losing data, but the other cannot go on alone, nor
                // help it up while it does not vote.
                1 | 2 => 0,
                _ => options.config.quorums.failures_max(),
            },
            afflicted: BTreeMap::new(),
            lifts: Vec::new(),
            fateful_crash: if options.faults.crash_in_io > 0 { 60_000 } else { 0 },
            ended: false,
            outside: BTreeSet::new(),
            dead: BTreeSet::new(),
        }
    }

    pub fn is_afflicted(&self, machine: usize) -> bool {
        self.afflicted.contains_key(&machine)
    }

    pub fn afflicted(&self) -> impl Iterator<Item = usize> {
        self.afflicted.keys().copied()
    }

    /// Whether the machine is not to be started again.
    pub fn keeps_down(&self, machine: usize) -> bool {
        self.dead.contains(&machine)
    }

    /// Whether the machine was left broken, so that nothing is expected of it.
    pub fn is_outside(&self, machine: usize) -> bool {
        self.outside.contains(&machine)
    }

    /// No more troubles; these machines stay broken, and the dead ones down.
    pub fn end(&mut self, outside: &BTreeSet<usize>, dead: BTreeSet<usize>) {
        self.outside.clone_from(outside);
        self.dead = dead;
        self.lifts.clear();
        self.ended = true;
    }

    /// Damage beyond what strikes by itself, for scenarios: from now on the disk may be unsound.
    pub fn afflict(&mut self, machine: usize) {
        let affliction = self.afflicted.entry(machine).or_default();
        affliction.damages += 1;
        affliction.inspection = None;
    }

    /// Whether the machine's disk may be exchanged: it counts as lost, and nothing else is planned for it.
    pub fn may_swap(&self, machine: usize) -> bool {
        self.afflicted.get(&machine).is_some_and(|affliction| !affliction.doomed)
    }

    /// While a machine is doomed it is neither damaged further nor inspected.
    pub fn doom(&mut self, machine: usize, doomed: bool) {
        let affliction = self.afflicted.entry(machine).or_default();
        affliction.doomed = doomed;
        affliction.inspection = None;
    }

    /// Something has just been decided and is on its way to disks and peers: the worst moment to die.
    pub fn on_event(world: &mut World, machine: usize, event: Event) {
        let fateful = matches!(
            event,
            Event::ViewChangeStarted
                | Event::ViewChangeElected
                | Event::ViewStartedAsPrimary
                | Event::ViewStartedAsBackup
                | Event::SuffixReplaced
                | Event::NackQuorumTruncated
                | Event::HeadLearned
                | Event::CheckpointStarted
                | Event::SyncFinished
                | Event::RejoinPrepared
                | Event::RejoinFinished
        );
        // What was said in an earlier view comes when a view has just begun. What a story holds back is
        // the story's.
        if event == Event::ViewStartedAsPrimary
            && !world.nemesis.ended
            && world.holds_back()
            && world.nemesis.is_holding()
            && world.nemesis.random.percent(50)
        {
            deed(world, None, "held messages released upon a new view");
            world.release();
        }
        let nemesis = &mut world.nemesis;
        if !fateful || nemesis.ended || !nemesis.random.per_million(nemesis.fateful_crash) {
            return;
        }
        let delay = nemesis.random.below(3_000);
        world.coverage.mark(format!("crash upon {event:?}"));
        world.crash_soon(machine, delay);
    }

    /// Undoes what is due, looks after the afflicted, and does one more thing.
    pub fn strike(world: &mut World) {
        lift(world);
        inspect(world);
        let weights = world.options.faults.weights();
        let nemesis = &mut world.nemesis;
        let mut draw = nemesis.random.below(weights.iter().map(|(_, weight)| weight).sum());
        for (trouble, weight) in weights {
            if draw < weight {
                return cause(world, trouble);
            }
            draw -= weight;
        }
    }

    /// Who may be damaged now: one that is healthy, if there is room, or damaged less often than the
    /// log can bear. It takes the loss of all three witnesses of an entry to make it look like one
    /// that never was.
    fn victim(&mut self, count: usize) -> Option<usize> {
        let room = self.afflicted.len() < self.afflicted_max;
        let fit = |machine: &usize| match self.afflicted.get(machine) {
            None => room,
            Some(affliction) => !affliction.doomed && affliction.damages < DAMAGES_MAX,
        };
        let fit: Vec<usize> = (0..count).filter(fit).collect();
        if fit.is_empty() { None } else { Some(*self.random.pick(&fit)) }
    }

    fn is_holding(&self) -> bool {
        self.lifts.iter().any(|(_, lift)| matches!(lift, Lift::Release))
    }

    pub fn later(&mut self, now: u64, low: u64, high: u64, lift: Lift) {
        let at = now + self.random.between(low, high);
        self.lifts.push((at, lift));
    }
}

/// What is over is undone.
fn lift(world: &mut World) {
    let now = world.now;
    let (due, rest) = std::mem::take(&mut world.nemesis.lifts).into_iter().partition(|(at, _)| *at <= now);
    world.nemesis.lifts = rest;
    let due: Vec<(u64, Lift)> = due;
    for (_, lift) in due {
        match lift {
            Lift::Links(links) => {
                for (from, to) in links {
                    world.network.mend(from, to);
                }
            }
            Lift::Capacity(machine) => world.machines[machine].disk.set_capacity(u64::MAX),
            Lift::Slowness(machine) => world.machines[machine].slowness = 1,
            Lift::Wipe(machine) => wipe(world, machine),
            Lift::Restart(machine) => operator::restart(world, machine),
            Lift::NewDisk(machine) => operator::new_disk(world, machine),
            Lift::Release => {
                deed(world, None, "held messages released");
                world.release();
            }
        }
    }
}

/// Marks and traces a deed.
pub fn deed(world: &mut World, machine: Option<usize>, what: &str) {
    world.coverage.mark(what);
    world.trace.note(world.now, machine, what);
}

fn cause(world: &mut World, trouble: &str) {
    let count = world.machines.len();
    let primary = reigning(world);
    let nemesis = &mut world.nemesis;
    let machine = match primary.filter(|_| nemesis.random.percent(30)) {
        Some(primary) => primary,
        None => nemesis.random.index(count),
    };
    match trouble {
        "crash" => world.crash(machine, "power"),
        "crash in I/O" => crash_in_io(world, machine),
        "crash all" => {
            deed(world, None, "crash all");
            for machine in 0..count {
                world.crash(machine, "power, everywhere");
            }
        }
        "pause" => pause(world, machine),
        "clock step" => step_clock(world, machine),
        "isolate" => isolate(world, machine),
        "split" => split(world),
        "cut one way" => cut_one_way(world, machine),
        "clog" => clog(world, machine),
        "narrow" => narrow(world, machine),
        "mend" => mend(world, machine),
        "slow disk" => slow_disk(world, machine),
        "rot" => damage(world, Damage::Rot),
        "unreadable" => damage(world, Damage::Unreadable),
        "misdirect" => damage(world, Damage::Misdirected),
        "phantom" => damage(world, Damage::Phantom),
        "sync error" => {
            deed(world, Some(machine), "sync error");
            world.machines[machine].disk.fail_next_sync();
        }
        "full disk" => fill_disk(world, machine),
        "wipe" => plan_wipe(world),
        "operator" => operator::act(world, machine),
        "hold" => hold(world, machine),
        "chunk rot" => rot_chunks(world),
        "lie" => lie(world),
        other => unreachable!("{other} is not a trouble"),
    }
}

fn crash_in_io(world: &mut World, machine: usize) {
    let calls = match world.nemesis.random.below(3) {
        0 => 1 + world.nemesis.random.below(4),
        1 => 1 + world.nemesis.random.below(20),
        _ => 1 + world.nemesis.random.below(200),
    };
    deed(world, Some(machine), "crash in I/O armed");
    world.machines[machine].disk.fail_after(calls);
}

fn pause(world: &mut World, machine: usize) {
    if !world.machines[machine].is_up() {
        return;
    }
    let micros = *world.nemesis.random.pick(&[30_000, 300_000, 1_500_000, 6_000_000]);
    let micros = micros / 2 + world.nemesis.random.below(micros);
    world.machines[machine].paused_until = world.now + micros;
    deed(world, Some(machine), "pause");
}

fn step_clock(world: &mut World, machine: usize) {
    let step = *world.nemesis.random.pick(&[-1_800_000_000, -3_000_000, -20_000, 20_000, 1_000_000]);
    let offset = &mut world.machines[machine].clock_offset;
    *offset = offset.saturating_add(step).clamp(-CLOCK_BEHIND_MAX, CLOCK_AHEAD_MAX);
    deed(world, Some(machine), "clock step");
}

fn peer(machine: usize) -> Peer {
    Peer::Replica(ReplicaId::new(u8::try_from(machine).expect("at most seven")))
}

/// Everyone else that a machine talks to. Sometimes the clients too, sometimes only its peers.
fn neighbours(world: &mut World, machine: usize) -> Vec<Peer> {
    let mut others: Vec<Peer> = (0..world.machines.len()).filter(|it| *it != machine).map(peer).collect();
    if world.nemesis.random.percent(50) {
        others.extend(world.clients.peers());
    }
    others
}

/// Most troubles of links pass by themselves; some last until something mends them.
fn lift_links(world: &mut World, links: Vec<(Peer, Peer)>) {
    if world.nemesis.random.percent(75) {
        world.nemesis.later(world.now, 100_000, 5_000_000, Lift::Links(links));
    }
}

fn cut(world: &mut World, links: Vec<(Peer, Peer)>) {
    for (from, to) in &links {
        world.network.cut(*from, *to);
    }
    lift_links(world, links);
}

fn isolate(world: &mut World, machine: usize) {
    deed(world, Some(machine), "isolate");
    let me = peer(machine);
    let others = neighbours(world, machine);
    cut(world, others.into_iter().flat_map(|other| [(me, other), (other, me)]).collect());
}

/// Two sides, each with some of the clients; or with all of them, who then hear both.
fn split(world: &mut World) {
    deed(world, None, "split");
    let mut peers: Vec<Peer> = (0..world.machines.len()).map(peer).collect();
    if world.nemesis.random.percent(50) {
        peers.extend(world.clients.peers());
    }
    let (left, right): (Vec<Peer>, Vec<Peer>) =
        peers.into_iter().partition(|_| world.nemesis.random.percent(50));
    let across = left.iter().flat_map(|one| right.iter().flat_map(|other| [(*one, *other), (*other, *one)]));
    cut(world, across.collect());
}

/// One link, or all that a machine says, or all that it hears.
fn cut_one_way(world: &mut World, machine: usize) {
    let me = peer(machine);
    let others = neighbours(world, machine);
    let links: Vec<(Peer, Peer)> = match world.nemesis.random.below(4) {
        0 => {
            deed(world, Some(machine), "deaf");
            others.into_iter().map(|other| (other, me)).collect()
        }
        1 => {
            deed(world, Some(machine), "mute");
            others.into_iter().map(|other| (me, other)).collect()
        }
        _ if others.is_empty() => return,
        _ => {
            deed(world, Some(machine), "cut one way");
            vec![(me, *world.nemesis.random.pick(&others))]
        }
    };
    cut(world, links);
}

fn clog(world: &mut World, machine: usize) {
    deed(world, Some(machine), "clog");
    let me = peer(machine);
    let delay = *world.nemesis.random.pick(&[30_000, 200_000, 1_000_000, 4_000_000]);
    let mut links: Vec<(Peer, Peer)> =
        neighbours(world, machine).into_iter().flat_map(|other| [(me, other), (other, me)]).collect();
    if world.nemesis.random.percent(50) {
        let keep = world.nemesis.random.index(links.len().max(1)) + 1;
        links.truncate(keep);
    }
    for (from, to) in &links {
        world.network.clog(*from, *to, delay);
    }
    lift_links(world, links);
}

/// Heartbeats pass, and batches do not.
fn narrow(world: &mut World, machine: usize) {
    deed(world, Some(machine), "narrow");
    let me = peer(machine);
    let outward = world.nemesis.random.percent(50);
    let links: Vec<(Peer, Peer)> = neighbours(world, machine)
        .into_iter()
        .map(|other| if outward { (me, other) } else { (other, me) })
        .collect();
    for (from, to) in &links {
        world.network.narrow(*from, *to);
    }
    lift_links(world, links);
}

/// Everything at once, or the links of one machine. Sometimes whoever reigns dies at that moment:
/// those who were cut off then vote with the log that they went away with.
fn mend(world: &mut World, machine: usize) {
    if world.nemesis.random.percent(50) {
        world.trace.note(world.now, None, "all links mended");
        world.network.mend_all();
        if world.nemesis.random.percent(40)
            && let Some(primary) = reigning(world)
        {
            deed(world, Some(primary), "primary lost as the links are mended");
            world.crash(primary, "power");
        }
        return;
    }
    world.trace.note(world.now, Some(machine), "links mended");
    let me = peer(machine);
    let others: Vec<Peer> = (0..world.machines.len()).map(peer).chain(world.clients.peers()).collect();
    for other in others {
        world.network.mend(me, other);
        world.network.mend(other, me);
    }
}

fn slow_disk(world: &mut World, machine: usize) {
    deed(world, Some(machine), "slow disk");
    world.machines[machine].slowness = *world.nemesis.random.pick(&[5, 30, 200]);
    world.nemesis.later(world.now, 500_000, 6_000_000, Lift::Slowness(machine));
}

/// The disk has room for a little more, and gets its space back after a while. Mostly that is seen early
/// enough to refuse what grows; sometimes it is less than what was accepted already.
fn fill_disk(world: &mut World, machine: usize) {
    deed(world, Some(machine), "full disk");
    let disk = &world.machines[machine].disk;
    let more = *world.nemesis.random.pick(&[64 << 10, 1 << 20, 4 << 20]);
    disk.set_capacity(disk.used_bytes() + world.nemesis.random.below(more));
    world.nemesis.later(world.now, 300_000, 4_000_000, Lift::Capacity(machine));
}

/// A disk is about to be lost. Half of the time at once; otherwise some of what its replica says
/// from now on is held back, to come out when another disk has taken its place.
fn plan_wipe(world: &mut World) {
    let count = world.machines.len();
    let Some(machine) = world.nemesis.victim(count) else { return };
    if world.nemesis.random.percent(50) {
        return wipe(world, machine);
    }
    deed(world, Some(machine), "messages held for a wipe");
    let kind = *world.nemesis.random.pick(&["DoViewChange", "PrepareOk", "StartViewChange", "CommitOk"]);
    let me = peer(machine);
    for other in (0..count).filter(|other| *other != machine) {
        if world.nemesis.random.percent(60) {
            world.hold(me, peer(other), Some(kind));
        }
    }
    world.nemesis.afflict(machine);
    world.nemesis.afflicted.entry(machine).or_default().doomed = true;
    let now = world.now;
    world.nemesis.later(now, 200_000, 2_000_000, Lift::Wipe(machine));
    world.nemesis.later(now, 2_500_000, 12_000_000, Lift::Release);
    // Votes are only cast when a primary goes.
    if world.nemesis.random.percent(60)
        && let Some(primary) = reigning(world).filter(|primary| *primary != machine)
    {
        world.crash(primary, "power, before a wipe");
    }
}

/// Some of what a machine says of one kind does not arrive for a while, and then all at once.
fn hold(world: &mut World, machine: usize) {
    deed(world, Some(machine), "messages held");
    let kinds = [
        "PrepareOk",
        "Prepare",
        "RepairedEntry",
        "StartViewChange",
        "DoViewChange",
        "StartView",
        "CommitOk",
        "Commit",
    ];
    let kind = *world.nemesis.random.pick(&kinds);
    for other in (0..world.machines.len()).filter(|other| *other != machine) {
        if world.nemesis.random.percent(60) {
            world.hold(peer(machine), peer(other), Some(kind));
        }
    }
    let now = world.now;
    world.nemesis.later(now, 300_000, 8_000_000, Lift::Release);
}

/// Of those who think that they are the primary, the one in the latest view.
fn reigning(world: &World) -> Option<usize> {
    let process = |machine: &usize| world.machines[*machine].process.as_ref();
    (0..world.machines.len())
        .filter(|machine| process(machine).is_some_and(|process| process.core.is_primary()))
        .max_by_key(|machine| process(machine).map(|process| process.core.view()))
}

fn wipe(world: &mut World, machine: usize) {
    // Whatever was wrong with the old disk is gone with it.
    world.nemesis.afflicted.insert(machine, Affliction::default());
    world.crash(machine, "its disk is gone");
    deed(world, Some(machine), "wipe");
    let config = world.options.config.clone();
    world.machines[machine].replace_disk(&config);
    world.machines[machine].has_old_disk = false;
    let delay = world.nemesis.random.between(50_000, 3_000_000);
    world.start_soon(machine, delay);
}

/// Sends some of the afflicted to an inspection, and releases who has passed it.
fn inspect(world: &mut World) {
    let committed = Op::new(world.oracles.committed_count() as u64);
    for machine in world.nemesis.afflicted().collect::<Vec<_>>() {
        let affliction = &world.nemesis.afflicted[&machine];
        if affliction.doomed {
            continue;
        }
        let inspection = match &affliction.inspection {
            None if world.machines[machine].is_up() && world.nemesis.random.percent(20) => {
                // A crash also disarms what has not struck yet.
                let boot = world.machines[machine].boot;
                world.crash(machine, "inspection");
                Some(Inspection { boot, committed })
            }
            None => continue,
            Some(inspection) if !world.machines[machine].wal_certain => {
                // The WAL remembers damage at its end until what it may have hidden is reclaimed.
                let again = world.machines[machine].boot > inspection.boot;
                if !again || !world.nemesis.random.percent(20) {
                    continue;
                }
                None
            }
            Some(inspection) => {
                if is_healthy(world, machine, inspection) && world.chunks_are_whole(machine) {
                    world.nemesis.afflicted.remove(&machine);
                    deed(world, Some(machine), "healthy again");
                }
                continue;
            }
        };
        world.nemesis.afflicted.entry(machine).or_default().inspection = inspection;
    }
}

/// Whether nothing is left of the damage: the log up to the inspection is here, what lies below it
/// was made durable anew, and every row can be read.
fn is_healthy(world: &World, machine: usize, inspection: &Inspection) -> bool {
    let host = &world.machines[machine];
    let Some(process) = host.process.as_ref().filter(|_| host.boot > inspection.boot) else { return false };
    let core = &process.core;
    let superblock = core.durable_superblock();
    core.status() == StatusName::Normal
        && superblock.amnesiac.is_none()
        && !superblock.tables_lost
        && core.durable_through() >= inspection.committed
        && core.applied() >= inspection.committed
        && core.checkpoint().op() > inspection.committed
        && core.state().tables().scan(&[], None, &mut |_, _| Scan::Continue).is_ok()
}
