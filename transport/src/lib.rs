//! Carries what replicas and clients say to each other.
