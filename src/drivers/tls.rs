//! The one implementation of TLS that everything here uses.

/// Chooses it for the whole process. Whoever comes second finds it chosen.
pub fn prepare() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
