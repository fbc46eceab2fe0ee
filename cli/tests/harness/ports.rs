//! Ports that nobody uses, and that nobody takes while a process that has one is away.
//!
//! They are lower than those that the kernel gives to whoever asks for any: a replica that is started
//! again would otherwise find now and then that somebody dials from its port. None is given out twice,
//! and test programs that run side by side begin at different ones.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;
/// More than one program needs.
const COUNT_PER_PROGRAM: u32 = 100;

static GIVEN: AtomicU32 = AtomicU32::new(0);

/// In a row, each free for UDP and for TCP, on all addresses.
pub(crate) fn in_a_row(count: u16) -> Range<u16> {
    let own = std::process::id() % (COUNT / COUNT_PER_PROGRAM) * COUNT_PER_PROGRAM;
    for _ in 0..1_000 {
        let given = GIVEN.fetch_add(u32::from(count), Ordering::Relaxed);
        let first = u16::try_from(FIRST + (own + given) % COUNT).unwrap();
        let ports = first..first + count;
        if ports.clone().all(is_free) {
            return ports;
        }
    }
    panic!("no {count} ports in a row are free");
}

fn is_free(port: u16) -> bool {
    let place = (Ipv4Addr::UNSPECIFIED, port);
    UdpSocket::bind(place).is_ok() && TcpListener::bind(place).is_ok()
}
