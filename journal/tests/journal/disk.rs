//! Real disks that fail.
