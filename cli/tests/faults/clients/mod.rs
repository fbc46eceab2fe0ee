//! Clients of a cluster: the library that a gateway uses, over real sockets.
//!
//! In reading order: the values that they write (`value`), one client (`client`), many of them under way
//! while something else happens (`load`).

mod client;
mod load;
mod value;

pub(crate) use client::{Client, Store, runtime};
pub(crate) use load::{Load, Plan};
pub(crate) use value::Value;
