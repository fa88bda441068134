//! Certificates from an authority that speaks ACME (RFC 8555), proved by http-01.
//!
//! The account's key is made once for each authority and kept, readable by its owner alone. What an
//! authority says about waiting (`Retry-After` with 429 and 503) is told to the caller; nothing
//! here tries again by itself. Every wait is bounded.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error,
    HttpClient, Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use tenantry_journal::name::Domain;

use super::private;

/// Let's Encrypt's own.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// How long one request to the authority may take.
const REQUEST: Duration = Duration::from_secs(30);
/// How long the authority may take to look at the challenges, and then to sign: it looks from
/// several places and queues when it is busy.
const WAIT: Duration = Duration::from_secs(90);
/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(300);
/// From the first look at an order to the next.
const FIRST_LOOK: Duration = Duration::from_millis(150);
const LATER: f32 = 1.5;
/// No answer of an authority is longer.
const ANSWER_BYTES: usize = 1 << 20;

/// Whom to ask, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its directory.
    pub directory: String,
    /// A mail address for it.
    pub contact: Option<String>,
    /// The root by which the authority itself is known; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Where accounts are kept.
    pub accounts: PathBuf,
}

impl Authority {
    /// Whether it signs for names that exist on the internet alone.
    #[must_use]
    pub fn is_public(&self) -> bool {
        let url = url::Url::parse(&self.directory).ok();
        url.as_ref().and_then(|url| url.host_str()).is_some_and(|host| {
            ["letsencrypt.org", "zerossl.com", "buypass.com", "pki.goog"]
                .iter()
                .any(|public| host.ends_with(public))
        })
    }

    /// Where the account of this authority is kept.
    fn account(&self) -> PathBuf {
        let name: String = blake3::hash(self.directory.as_bytes()).to_hex().chars().take(16).collect();
        self.accounts.join(format!("{name}.json"))
    }
}

/// A certificate with its key, both PEM.
pub struct Signed {
    /// The certificate, then its chain.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

/// Why there is none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct AcmeError {
    /// A sentence.
    pub detail: String,
    /// How long the authority wants not to be asked again.
    pub retry_after: Option<Duration>,
}

/// Asks for a certificate. `announce` has the thumbprint of the account's key stand where the
/// authority will look for it, before it looks.
///
/// # Errors
/// When the authority refuses, delays, cannot be reached or cannot reach us.
pub async fn obtain<F>(
    authority: &Authority,
    names: &[Domain],
    announce: impl FnOnce(String) -> F + Send,
) -> Result<Signed, AcmeError>
where
    F: Future<Output = Result<(), String>> + Send,
{
    let waits = Waits::default();
    let fail = |detail: String| AcmeError { detail, retry_after: waits.told() };
    match tokio::time::timeout(WHOLE, order(authority, names, &waits, announce)).await {
        Ok(Ok(signed)) => Ok(signed),
        Ok(Err(Failure::Acme(error))) => {
            Err(fail(format!("the certificate authority: {}", crate::error::chain(&error))))
        }
        Ok(Err(Failure::Told(why))) => Err(fail(why)),
        Err(_) => Err(fail(format!("the certificate authority took longer than {} s", WHOLE.as_secs()))),
    }
}

enum Failure {
    Acme(Error),
    Told(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Acme(error)
    }
}

async fn order<F>(
    authority: &Authority,
    names: &[Domain],
    waits: &Waits,
    announce: impl FnOnce(String) -> F + Send,
) -> Result<Signed, Failure>
where
    F: Future<Output = Result<(), String>> + Send,
{
    let client = Client::new(authority, waits.clone()).map_err(Failure::Told)?;
    let identifiers: Vec<Identifier> = names.iter().map(|name| Identifier::Dns(name.to_string())).collect();
    let wanted = NewOrder::new(&identifiers);
    let account = account(authority, &client).await?;
    let mut order = match account.new_order(&wanted).await {
        // The authority has forgotten the account, as one that was set up anew has.
        Err(Error::Api(problem)) if is(&problem, "accountDoesNotExist") => {
            let _ = std::fs::remove_file(authority.account());
            self::account(authority, &client).await?.new_order(&wanted).await?
        }
        order => order?,
    };
    let mut announce = Some(announce);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Valid => continue,
            AuthorizationStatus::Pending => {}
            status => {
                return Err(Failure::Told(format!("the authority holds an authorization as {status:?}")));
            }
        }
        let mut challenge = authorization
            .challenge(ChallengeType::Http01)
            .ok_or_else(|| Failure::Told("the authority offers no http-01 challenge".to_owned()))?;
        if let Some(announce) = announce.take() {
            let whole = challenge.key_authorization().as_str().to_owned();
            let thumbprint = whole.rsplit_once('.').map_or("", |(_, thumbprint)| thumbprint).to_owned();
            announce(thumbprint).await.map_err(Failure::Told)?;
        }
        challenge.set_ready().await?;
    }
    let policy = RetryPolicy::new().initial_delay(FIRST_LOOK).backoff(LATER).timeout(WAIT);
    let ready = order.poll_ready(&policy).await;
    if !matches!(ready, Ok(OrderStatus::Ready)) {
        let why = refusals(&mut order).await;
        return Err(match ready {
            Ok(_) | Err(Error::Api(_)) if !why.is_empty() => {
                Failure::Told(format!("the certificate authority refused: {}", why.join("; ")))
            }
            Ok(status) => Failure::Told(format!("the order ended as {status:?}")),
            Err(error) => error.into(),
        });
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&policy).await?;
    Ok(Signed { chain, key })
}

fn is(problem: &instant_acme::Problem, name: &str) -> bool {
    problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(name))
}

/// What the authority found wrong with each name.
async fn refusals(order: &mut instant_acme::Order) -> Vec<String> {
    let mut why = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        why.extend(errors.map(|problem| {
            let detail = problem.detail.as_deref().unwrap_or("no reason given");
            format!("{name}: {detail}")
        }));
    }
    why
}

/// The account, made when there is none yet.
async fn account(authority: &Authority, client: &Client) -> Result<Account, Failure> {
    let path = authority.account();
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(credentials) = serde_json::from_str::<AccountCredentials>(&text)
    {
        return Ok(Account::builder_with_http(Box::new(client.clone()))
            .from_credentials(credentials)
            .await?);
    }
    let contact = authority.contact.as_ref().map(|contact| match contact.contains(':') {
        true => contact.clone(),
        false => format!("mailto:{contact}"),
    });
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let (account, credentials) = builder.create(&new, authority.directory.clone(), None).await?;
    let text = serde_json::to_string(&credentials).map_err(Error::from)?;
    keep(&path, &text).map_err(|error| Failure::Told(format!("cannot keep {}: {error}", path.display())))?;
    tracing::info!(acme.directory = authority.directory, "an account was made at the certificate authority");
    Ok(account)
}

fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        private::directory(dir)?;
    }
    private::replace(path, text.as_bytes())
}

/// What the authority said about waiting.
#[derive(Clone, Debug, Default)]
struct Waits(Arc<Mutex<Option<Duration>>>);

impl Waits {
    fn told(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, response: &reqwest::Response) {
        if !matches!(response.status().as_u16(), 429 | 503) {
            return;
        }
        let said = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let Some(wait) = said.and_then(wait) else { return };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(wait);
    }
}

/// The two forms of `Retry-After` (RFC 9110, 10.2.3).
fn wait(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    let now = crate::clock::now().0;
    Some(Duration::from_millis(u64::try_from(date).ok()?.saturating_sub(now)))
}

/// Requests with an end, and without ways around the named authority.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    waits: Waits,
}

impl Client {
    fn new(authority: &Authority, waits: Waits) -> Result<Client, String> {
        let mut builder = crate::tls::client().timeout(REQUEST);
        if let Some(file) = &authority.ca_file {
            let pem =
                std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| format!("{} holds no certificate: {error}", file.display()))?;
            builder = builder.tls_certs_only(roots);
        }
        let http = builder.build().map_err(|error| crate::error::chain(&error))?;
        Ok(Client { http, waits })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let Client { http, waits } = self.clone();
        Box::pin(async move { exchange(&http, &waits, request).await.map_err(Error::Other) })
    }
}

async fn exchange(
    http: &reqwest::Client,
    waits: &Waits,
    request: http::Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let request = reqwest::Request::try_from(http::Request::from_parts(parts, body))?;
    let mut response = http.execute(request).await?;
    waits.note(&response);
    let mut answer = http::Response::builder().status(response.status());
    if let Some(headers) = answer.headers_mut() {
        headers.extend(response.headers().clone());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES {
            return Err("the answer is too long".into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(answer.body(Full::new(Bytes::from(bytes)))?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert!(
            wait("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|wait| wait > Duration::from_secs(1_000_000))
        );
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn a_public_authority_is_known_by_its_host() {
        let at = |directory: &str| Authority {
            directory: directory.to_owned(),
            contact: None,
            ca_file: None,
            accounts: PathBuf::new(),
        };
        assert!(at(LETS_ENCRYPT).is_public());
        assert!(!at("https://localhost:14000/dir").is_public());
        assert_ne!(at(LETS_ENCRYPT).account(), at("https://localhost:14000/dir").account());
    }
}
