//! TLS of what this program asks of others: one provider of cryptography, one way to a client.

use std::sync::Once;

static PROVIDER: Once = Once::new();

/// Makes ring the provider of everything in this process that speaks TLS. May be repeated.
pub fn install() {
    PROVIDER.call_once(|| {
        // Fails only when there is a provider already, and then that one does.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The beginning of an HTTP client: by itself it follows no redirect and asks no proxy, so that
/// a request goes where it is sent and nowhere else.
pub fn client() -> reqwest::ClientBuilder {
    install();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("tenantry/", env!("CARGO_PKG_VERSION")))
}
