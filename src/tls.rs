//! Which cryptography TLS uses: ring's, for every client and server of the program.

/// Makes it the one that is used; again is the same as once.
pub fn install() {
    // An error says that one was installed before, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
