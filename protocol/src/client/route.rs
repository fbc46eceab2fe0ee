//! Where to send: whoever is presumed to be the primary, and others when that does not help.

use rand_core::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::retry::Reach;
use crate::types::{REPLICAS_MAX, ReplicaId, View};

#[derive(Debug)]
pub(super) struct Route {
    /// The newest view that is believed to have a primary. A hint: nothing is ever ignored because
    /// of it, since a replica that was cut off may name a view that never comes into office.
    view: View,
    replica_count: u8,
}

impl Route {
    pub(super) fn new(replica_count: u8) -> Route {
        assert!(replica_count >= 1);
        assert!(usize::from(replica_count) <= REPLICAS_MAX);
        Route { view: View::ZERO, replica_count }
    }

    pub(super) fn view(&self) -> View {
        self.view
    }

    pub(super) fn primary(&self) -> ReplicaId {
        self.primary_of(self.view)
    }

    fn primary_of(&self, view: View) -> ReplicaId {
        let index = view.get() % u64::from(self.replica_count);
        ReplicaId::new(u8::try_from(index).expect("it is below the replica count"))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0..self.replica_count).map(ReplicaId::new)
    }

    /// A replica that works normally told how large the cluster is.
    pub(super) fn resize(&mut self, replica_count: u8) {
        if replica_count >= 1 && usize::from(replica_count) <= REPLICAS_MAX {
            self.replica_count = replica_count;
        }
    }

    /// Somebody named a view.
    pub(super) fn raise(&mut self, view: View) {
        self.view = self.view.max(view);
    }

    /// A request was answered. If it was by the primary of the view it names, that is where requests
    /// are answered, even if the view was thought to be later.
    pub(super) fn answered(&mut self, from: ReplicaId, view: View) {
        if from == self.primary_of(view) {
            self.view = view;
        } else {
            self.raise(view);
        }
    }

    pub(super) fn targets(&self, reach: Reach, random: &mut Xoshiro256PlusPlus) -> Vec<ReplicaId> {
        let primary = self.primary();
        let others = u64::from(self.replica_count) - 1;
        match reach {
            Reach::Everybody => self.all().collect(),
            Reach::PrimaryAndOther if others > 0 => {
                let skip = usize::try_from(random.next_u64() % others).expect("there are few replicas");
                let other = self.all().filter(|replica| *replica != primary).nth(skip);
                std::iter::once(primary).chain(other).collect()
            }
            Reach::Primary | Reach::PrimaryAndOther => vec![primary],
        }
    }
}
