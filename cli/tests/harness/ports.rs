//! Ports that nobody uses.
//!
//! They are free when they are given out. All are held until the last is chosen, so none is given out
//! twice; the kernel hands them out in a random order, so tests side by side rarely meet.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

pub(super) fn udp(count: usize) -> Vec<u16> {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}

pub(super) fn tcp(count: usize) -> Vec<u16> {
    let sockets: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap().port()).collect()
}
