//! Overlays joined by loopbacks, on the host.

use super::*;
use crate::intermon::{
    Allotment, Intermon, IntermonClient, IntermonError, IntermonServer, Opened, Welcome,
};
use crate::plan::PlannedCore;
use crate::{Ticket, membership::Report};
use capelin_idc::CallError;
use capelin_idc::loopback::{self, Loopback};
use capelin_interfaces::interrupts::{TargetCore, Trigger};
use capelin_interfaces::memory::{Held, MemoryError, MemoryStats, Within};
use capelin_rt::executor::{block_on, spawn, yield_now};

/// A loopback that stays when the test's tasks go: its end would wake tasks of a
/// runtime that is gone.
struct Ring(core::mem::ManuallyDrop<Loopback>);

impl Ring {
    fn new(side: Loopback) -> Self {
        Self(core::mem::ManuallyDrop::new(side))
    }
}

impl Transport for Ring {
    fn fragment_bytes(&self) -> usize {
        self.0.fragment_bytes()
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
        cap: Option<&Cap>,
    ) -> Poll<Result<(), TransportError>> {
        self.0.poll_send(context, fragment, cap)
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Arrival, TransportError>> {
        self.0.poll_receive(context)
    }
}

/// Answers with its own number added, and keeps what it is told.
struct Fake {
    core: u16,
    from: u16,
    reports: Rc<RefCell<Vec<(u16, Report)>>>,
}

impl Intermon for Fake {
    async fn hello(&self, bell: Ticket) -> Result<Welcome, IntermonError> {
        // A long answer: many fragments.
        let cores = (1..=100).map(|core| PlannedCore {
            core,
            parent: 0,
            mpidr: bell,
            node: u32::from(self.from),
            home_node: 0,
            ring_node: 0,
            release: 0,
        });
        let plan = Plan::new(0, cores.collect()).map_err(|_| IntermonError::Exhausted)?;
        Ok(Welcome { plan })
    }

    async fn allotments(&self) -> Result<Vec<Allotment>, IntermonError> {
        Ok(vec![])
    }

    async fn report(&self, reports: Vec<Report>) {
        let mut known = self.reports.borrow_mut();
        known.extend(reports.into_iter().map(|report| (self.from, report)));
    }

    async fn open_ring(&self, _: Ticket) -> Result<Opened, IntermonError> {
        Err(IntermonError::Exhausted)
    }

    async fn echo(&self, word: u64) -> u64 {
        yield_now().await;
        word + u64::from(self.core) * 1000 + u64::from(self.from) * 1_000_000
    }

    async fn is_cut_off(&self, _: u16) -> bool {
        false
    }

    async fn allocate(&self, _: u64, _: u64, _: Within) -> Result<Ticket, IntermonError> {
        Err(IntermonError::WrongCore)
    }

    async fn free(&self, _: Ticket) -> Result<(), IntermonError> {
        Err(IntermonError::WrongCore)
    }

    async fn memory_held(&self) -> Result<Vec<Held>, MemoryError> {
        Ok(Vec::new())
    }

    async fn memory_stats(&self, _: u32) -> Result<MemoryStats, MemoryError> {
        Err(MemoryError::NoSuchNode)
    }

    async fn claim_interrupt(
        &self,
        _: u32,
        _: Trigger,
        _: TargetCore,
    ) -> Result<Ticket, IntermonError> {
        Err(IntermonError::WrongCore)
    }

    async fn release_interrupt(&self, _: Ticket) -> Result<(), IntermonError> {
        Err(IntermonError::WrongCore)
    }

    async fn raise_interrupt(&self, _: u32) -> Result<(), IntermonError> {
        Err(IntermonError::WrongCore)
    }

    async fn output(&self, _: Vec<u8>) {}
}

type Reports = Rc<RefCell<Vec<(u16, Report)>>>;

struct Net {
    nodes: Vec<Overlay<Ring>>,
    reports: Reports,
}

/// `count` cores; the parent of core n is core (n − 1) / `fanout`.
fn net(count: u16, fanout: u16) -> Net {
    let cores = (1..count).map(|core| PlannedCore {
        core,
        parent: (core - 1) / fanout,
        mpidr: 0,
        node: 0,
        home_node: 0,
        ring_node: 0,
        release: 0,
    });
    let plan = Plan::new(0, cores.collect()).unwrap();
    let reports = Reports::default();
    let nodes: Vec<_> = (0..count)
        .map(|core| {
            let parent = plan.get(core).map(|c| c.parent);
            let spawner: Spawner = Box::new(|future| drop(spawn(future)));
            let overlay = Overlay::new(core, parent, spawner);
            overlay.set_below(plan.below(core));
            let reports = Rc::clone(&reports);
            overlay.serve(Box::new(move |from, interface| {
                let reports = Rc::clone(&reports);
                let service = IntermonServer(Fake {
                    core,
                    from,
                    reports,
                });
                (service.interface() == interface).then(|| Box::new(service) as Box<dyn Service>)
            }));
            overlay
        })
        .collect();
    for core in plan.cores() {
        let (above, below) = loopback::pair(4, 48);
        nodes[usize::from(core.parent)].add_neighbour(core.core, Ring::new(above));
        nodes[usize::from(core.core)].add_neighbour(core.parent, Ring::new(below));
    }
    Net { nodes, reports }
}

impl Net {
    fn client(&self, from: u16, to: u16, way: Way) -> IntermonClient<Hop<Ring>> {
        self.nodes[usize::from(from)].connect(to, way).unwrap()
    }
}

#[test]
fn any_two_monitors_reach_each_other() {
    block_on(async {
        let net = net(23, 3);
        for from in 0..23 {
            for to in 0..23 {
                let client = net.client(from, to, Way::Tree);
                let expected = 7 + u64::from(to) * 1000 + u64::from(from) * 1_000_000;
                assert_eq!(client.echo(7).await, Ok(expected), "{from} to {to}");
            }
        }
        // Nothing is left of closed connections but what hasn't been taken yet.
        for _ in 0..100 {
            yield_now().await;
        }
        for node in &net.nodes {
            assert_eq!(node.0.connections.borrow().len(), 0);
        }
    });
}

#[test]
fn long_answers_from_all_to_one_at_once_arrive_whole() {
    block_on(async {
        let net = net(16, 2);
        let mut tasks = Vec::new();
        for from in 1..16 {
            for n in 0..20 {
                let client = net.client(from, 0, Way::Tree);
                tasks.push(spawn(async move { (from, n, client.hello(n).await) }));
            }
        }
        for task in tasks {
            let (from, n, welcome) = task.await;
            let plan = welcome.unwrap().plan;
            let is_right = |c: &PlannedCore| c.mpidr == n && c.node == u32::from(from);
            assert_eq!(plan.cores().len(), 100);
            assert!(plan.cores().iter().all(is_right));
        }
    });
}

#[test]
fn reports_go_to_the_root_and_say_who_sent_them() {
    block_on(async {
        let net = net(8, 2);
        let report = Report {
            core: 9,
            parent: 7,
            fate: crate::membership::Fate::Starting,
        };
        let client = net.client(7, 0, Way::Tree);
        client.report(vec![report]).await.unwrap();
        while net.reports.borrow().is_empty() {
            yield_now().await;
        }
        assert_eq!(*net.reports.borrow(), [(7, report)]);
    });
}

#[test]
fn what_cannot_be_reached_is_refused() {
    block_on(async {
        let net = net(7, 2);
        // No such core: the root notices, or the sender when it is the root.
        let client = net.client(3, 99, Way::Tree);
        let refused = Err(CallError::Remote(RemoteError::Refused));
        assert_eq!(client.echo(1).await, refused);
        let none: Result<IntermonClient<_>, _> = net.nodes[0].connect(99, Way::Tree);
        assert!(matches!(none, Err(TransportError::Closed)));
        // A neighbour that has been removed, with a call under way.
        let doomed = net.client(3, 6, Way::Tree);
        net.nodes[0].remove_neighbour(2);
        assert_eq!(doomed.echo(1).await, refused);
        // The other branch goes on.
        let well = net.client(3, 4, Way::Tree);
        assert_eq!(well.echo(1).await, Ok(3_004_001));
        let from_root: Result<IntermonClient<_>, _> = net.nodes[0].connect(6, Way::Tree);
        assert!(from_root.is_err());
    });
}

#[test]
fn a_peer_that_vanishes_ends_the_calls_to_it() {
    block_on(async {
        let net = net(3, 2);
        let (here, there) = loopback::pair(4, 48);
        net.nodes[1].add_direct(2, Ring::new(here));
        let client = net.client(1, 2, Way::Direct);
        let call = spawn(async move { client.echo(1).await });
        yield_now().await;
        drop(there);
        let closed = Err(CallError::Transport(TransportError::Closed));
        assert_eq!(call.await, closed);
        assert!(!net.nodes[1].is_direct(2));
    });
}

#[test]
fn direct_rings_are_used_by_those_who_ask_for_them() {
    block_on(async {
        let net = net(7, 2);
        let (here, there) = loopback::pair(4, 48);
        net.nodes[5].add_direct(6, Ring::new(here));
        net.nodes[6].add_direct(5, Ring::new(there));
        // With the tree cut, only the direct way is left.
        net.nodes[0].remove_neighbour(2);
        net.nodes[2].remove_neighbour(6);
        let direct = net.client(5, 6, Way::Direct);
        assert_eq!(direct.echo(2).await, Ok(5_006_002));
        let tree = net.client(5, 6, Way::Tree);
        assert_eq!(
            tree.echo(2).await,
            Err(CallError::Remote(RemoteError::Refused))
        );
    });
}

#[test]
fn wild_fragments_change_nothing() {
    block_on(async {
        let net = net(3, 2);
        let (here, there) = loopback::pair(64, 48);
        net.nodes[1].add_direct(2, Ring::new(here));
        for n in 0..2000_u64 {
            let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let words = [word & !0xe0, word, !word, 0, 0, 0, 0, 0];
            there.inject(words, (n % 9) as usize, None);
        }
        for _ in 0..200 {
            yield_now().await;
        }
        core::mem::forget(there);
        let client = net.client(0, 1, Way::Tree);
        assert_eq!(client.echo(3).await, Ok(1003));
    });
}

/// A client that ends while its link is full is heard of: its connection is closed on the other side.
#[test]
fn a_close_is_not_lost_while_the_link_is_full() {
    block_on(async {
        let net = net(2, 1);
        let clients: Vec<_> = (0..20).map(|_| net.client(1, 0, Way::Tree)).collect();
        for client in &clients {
            assert_eq!(client.echo(7).await, Ok(7 + 1_000_000));
        }
        let connections = || net.nodes[0].0.connections.borrow().len();
        assert_eq!(connections(), clients.len());
        // Nothing of this goes out before this task waits.
        let link = net.nodes[1].0.towards(0).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let nowhere = Route {
            from: 1,
            to: 0,
            connection: u16::MAX,
            is_to_server: false,
        };
        let served = IntermonClient::<Hop<Ring>>::INTERFACE;
        let fragment = nowhere.wrap(WireHeader::new(served, Kind::Reply, 0, 0), &[]);
        while link.push(&mut context, &fragment).is_ready() {}
        drop(clients);
        for _ in 0..1000 {
            yield_now().await;
        }
        assert_eq!(connections(), 0);
    });
}
