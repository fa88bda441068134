//! Traffic to instances: from a host name to a process that answers.

pub mod traffic;
