//! Fetches pages whose address somebody else chose, and nothing that is not public.
//!
//! Only http and https. A host's address is resolved once, checked, and pinned: the client
//! knows no resolver but the list of what was checked. Every redirect is checked as the first
//! address was. Time, bytes and the number of hops are bounded, and no body is unpacked.

pub mod address;
mod pins;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, LOCATION};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use address::{Forbidden, Guard};
pub use pins::Pins;

/// Redirects that are followed; browsers take 20, honest pages need three.
const MOST_HOPS: usize = 5;
/// How long a host may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(8);

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It may not be.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// Its host has no address.
    #[error("the address of '{0}' cannot be found")]
    NoAddress(String),
    /// Nothing came, or it broke off.
    #[error("{host} does not answer: {why}")]
    Unreachable {
        /// The host.
        host: String,
        /// A few words.
        why: String,
    },
    /// It answered with something else than the thing itself.
    #[error("{host} answers with status {status}")]
    Status {
        /// The host.
        host: String,
        /// The code.
        status: u16,
    },
    /// More came than is read.
    #[error("the answer of {host} is longer than {limit} bytes")]
    TooLarge {
        /// The host.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// It leads from one address to the next without an end.
    #[error("more than {MOST_HOPS} redirects")]
    TooManyHops,
    /// Time is over.
    #[error("{host} took too long")]
    TimedOut {
        /// The host.
        host: String,
    },
    /// No client can be made.
    #[error("no HTTP client can be made: {0}")]
    NoClient(String),
}

/// Something that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Where it was found in the end.
    pub url: Url,
    /// What it says it is, in lower case, without parameters.
    pub media_type: String,
    /// The thing itself.
    pub bytes: Bytes,
}

/// Fetches for one purpose: what it has pinned stays pinned while it lives.
pub struct Fetcher {
    pins: Arc<Pins>,
    client: reqwest::Client,
    deadline: Instant,
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// An error with what it comes from, without the address: that may hold a secret.
fn words(error: reqwest::Error) -> String {
    crate::error::chain(&error.without_url())
}

impl Fetcher {
    /// Everything that it fetches must be there by `deadline`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(guard: Guard, deadline: Instant) -> Result<Fetcher, FetchError> {
        let pins = Arc::new(Pins::new(guard));
        let client = crate::tls::client()
            .dns_resolver(Arc::clone(&pins))
            .referer(false)
            .connect_timeout(CONNECT)
            .user_agent(concat!("Mozilla/5.0 (compatible; Tenantry/", env!("CARGO_PKG_VERSION"), ")"))
            .build()
            .map_err(|error| FetchError::NoClient(words(error)))?;
        Ok(Fetcher { pins, client, deadline })
    }

    /// What has been resolved, for others who must reach the same addresses.
    #[must_use]
    pub fn pins(&self) -> Arc<Pins> {
        Arc::clone(&self.pins)
    }

    /// Fetches something of at most `limit` bytes.
    ///
    /// # Errors
    /// When it may not be fetched, is not there, is too long, or takes too long.
    pub async fn get(&self, url: &Url, accept: &str, limit: usize) -> Result<Fetched, FetchError> {
        let mut url = url.clone();
        for _ in 0..=MOST_HOPS {
            let request =
                self.client.get(url.clone()).header(ACCEPT, accept).header(ACCEPT_ENCODING, "identity");
            let response = self.send(&url, request).await?;
            let status = response.status();
            if status.is_redirection() {
                let next = response.headers().get(LOCATION).and_then(|to| url.join(to.to_str().ok()?).ok());
                match next {
                    Some(next) => url = self.pins.guard().check_url(next)?,
                    None => return Err(FetchError::Status { host: host_of(&url), status: status.as_u16() }),
                }
                continue;
            }
            if !status.is_success() {
                return Err(FetchError::Status { host: host_of(&url), status: status.as_u16() });
            }
            let media_type = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let media_type = media_type.and_then(|kind| kind.split(';').next()).unwrap_or_default();
            let media_type = media_type.trim().to_ascii_lowercase();
            let bytes = self.read(&url, response, limit).await?;
            return Ok(Fetched { url, media_type, bytes });
        }
        Err(FetchError::TooManyHops)
    }

    /// Posts JSON and reads JSON; no redirect is followed. Gives the status as well.
    ///
    /// # Errors
    /// As [`Fetcher::get`].
    pub async fn post(&self, url: &Url, body: &Value, limit: usize) -> Result<(u16, Value), FetchError> {
        let response = self.send(url, self.client.post(url.clone()).json(body)).await?;
        let status = response.status().as_u16();
        let bytes = self.read(url, response, limit).await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn send(
        &self,
        url: &Url,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, FetchError> {
        let timed_out = || FetchError::TimedOut { host: host_of(url) };
        let addresses = timeout_at(self.deadline, self.pins.pin(url)).await.map_err(|_| timed_out())??;
        let response = timeout_at(self.deadline, request.send()).await.map_err(|_| timed_out())?;
        let response =
            response.map_err(|error| FetchError::Unreachable { host: host_of(url), why: words(error) })?;
        // Said again by the connection itself, whatever path led to it.
        match response.remote_addr() {
            Some(remote) if !addresses.contains(&remote) => Err(Forbidden::not_public(url).into()),
            _ => Ok(response),
        }
    }

    async fn read(
        &self,
        url: &Url,
        mut response: reqwest::Response,
        limit: usize,
    ) -> Result<Bytes, FetchError> {
        let too_large = || FetchError::TooLarge { host: host_of(url), limit };
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut bytes = BytesMut::new();
        loop {
            let chunk = timeout_at(self.deadline, response.chunk())
                .await
                .map_err(|_| FetchError::TimedOut { host: host_of(url) })?
                .map_err(|error| FetchError::Unreachable { host: host_of(url), why: words(error) })?;
            let Some(chunk) = chunk else { return Ok(bytes.freeze()) };
            if bytes.len() + chunk.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
    }
}
