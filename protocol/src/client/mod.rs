//! The client side: find the group, register, send, retry, recover. No I/O.
