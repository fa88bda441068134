//! The journal through its public door. Each module is named after what it is about.

#[cfg(test)]
mod ahead;
#[cfg(test)]
mod bytes;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod feed;
#[cfg(test)]
mod group;
#[cfg(test)]
mod keyring;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod receipt;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
#[cfg(test)]
mod transfer;
#[cfg(test)]
mod tree;
