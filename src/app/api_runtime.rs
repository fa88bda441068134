//! The runtime that answers the API: apart from the one that passes traffic on.
//!
//! With one for both, a proxied request waits behind whatever the API works at: eight clients
//! that list a thousand tenants are enough to be felt by every visitor of every tenant. With
//! two, the system's scheduler shares the processors between them.

use tokio::runtime::{Builder, Handle, Runtime};

use super::program::BLOCKING_THREADS;

/// The API's runtime; dropping it does not wait for what it still does.
pub(super) struct ApiRuntime(Option<Runtime>);

impl ApiRuntime {
    /// Starts its threads.
    pub(super) fn start() -> std::io::Result<ApiRuntime> {
        let runtime = Builder::new_multi_thread()
            .thread_name("api-worker")
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()?;
        Ok(ApiRuntime(Some(runtime)))
    }

    /// How work gets there; `None` when it has ended.
    pub(super) fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for ApiRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
