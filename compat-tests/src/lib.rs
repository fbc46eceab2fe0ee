//! What the tests are made of: a server to ask, the official SDK to ask it with, and requests built
//! byte by byte for what the SDK refuses to send. Nothing of the project is used but the program itself.

pub mod checksums;
pub mod cluster;
pub mod history;
pub mod raw;
pub mod sdk;
pub mod server;
pub mod sign;
