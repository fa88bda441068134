//! Adapters to what is outside: one file for each thing. None knows events or another driver.

pub mod listening;
