//! Storage: plain synchronous Rust over one small `Disk` trait.
