//! The one HTTP client of all commands: where the server is, as whom it is asked, how long is waited.
//!
//! Follows no redirects and uses no proxies: a credential goes to the named server and nowhere else.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use crate::tls;

use super::failure::{FAILED, Failure, NOT_ALLOWED, USAGE};
use super::logins::Logins;
use super::screen::{Color, Screen};

/// Where a server on this machine listens when nothing else is said.
const DEFAULT_SERVER: &str = "http://127.0.0.1:32201";
/// How long a server may take to take a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take: past the longest wait of the server itself, which is 300 s for
/// the start of a tenant.
const ANSWER: Duration = Duration::from_secs(330);
/// The most entries that the API gives in one answer.
pub(super) const LARGEST_PAGE: usize = 1000;

/// Where and as whom to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct Server {
    /// The server's address [default: that of the last login, else http://127.0.0.1:32201].
    #[arg(long, value_name = "URL", env = "TENANTRY_SERVER", hide_env_values = true)]
    pub(super) server: Option<String>,
    /// A credential. Everybody on this machine sees it in the list of processes: better set
    /// TENANTRY_TOKEN, or log in with `tenantry login`.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "TENANTRY_TOKEN",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(super) token: Option<String>,
}

/// What every command of a client takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Connection and output")]
pub(super) struct Common {
    #[command(flatten)]
    pub(super) server: Server,
    /// Print the API's own objects as JSON: one document, or one object a line while following.
    #[arg(long)]
    pub(super) json: bool,
    /// When to print in colour; NO_COLOR is respected.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pub(super) color: Color,
}

impl Common {
    /// Standard output, as it is to be used.
    pub(super) fn screen(&self) -> Screen {
        Screen::of_process(self.color)
    }

    /// The client that was asked for.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        self.server.client()
    }
}

impl Server {
    /// The address: as said, else that of the last login, else the usual one.
    ///
    /// # Errors
    /// When it is no address, or the stored logins cannot be read.
    pub(super) fn address(&self) -> anyhow::Result<String> {
        let stored = match &self.server {
            Some(_) => None,
            None => Logins::load()?.current,
        };
        let address = self.server.clone().or(stored).unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        Ok(parse_address(&address)?)
    }

    /// # Errors
    /// When the address is none, or no credential is known for it.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let address = self.address()?;
        let given = self.token.clone().filter(|token| !token.is_empty());
        let token = match given {
            Some(token) => token,
            None => Logins::load()?.token(&address).ok_or_else(|| {
                Failure::new(
                    NOT_ALLOWED,
                    format!("there is no credential for {address}"),
                    format!("Log in with `tenantry login --server {address}`, or set TENANTRY_TOKEN."),
                )
            })?,
        };
        Client::new(address, Some(&token))
    }
}

/// An address as it is compared and stored: scheme, host and port, and a path without its last slash.
///
/// # Errors
/// When it is none that can be asked.
pub(super) fn parse_address(text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::new(USAGE, format!("'{text}' is no server's address: {why}"), "");
    let text_with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text_with_scheme).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(Failure::new(
                USAGE,
                format!("'{text}': the command line speaks plain HTTP only"),
                "Ask through a tunnel: ssh -L 32201:127.0.0.1:32201 HOST, then --server http://127.0.0.1:32201",
            ));
        }
        _ => return Err(wrong("it must begin with http://")),
    }
    if !url.has_host() || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it must be http://HOST:PORT"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it must end with the port or a path"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// What a query holds.
pub(super) type Query = Vec<(&'static str, String)>;

/// Adds a parameter when there is one.
pub(super) fn add(query: &mut Query, name: &'static str, value: Option<impl ToString>) {
    query.extend(value.map(|value| (name, value.to_string())));
}

/// Asks one server.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    /// The server's address, without a slash at its end.
    pub(super) address: String,
    bearer: Option<HeaderValue>,
}

impl Client {
    /// For an address of [`parse_address`], without a credential only for a login.
    ///
    /// # Errors
    /// When the credential can be none.
    pub(super) fn new(address: String, token: Option<&str>) -> anyhow::Result<Client> {
        let http = tls::client().connect_timeout(CONNECT).build().context("no HTTP client can be made")?;
        let bearer = token.map(|token| HeaderValue::try_from(format!("Bearer {}", token.trim())));
        let mut bearer = bearer.transpose().map_err(|_| {
            Failure::new(
                NOT_ALLOWED,
                "the token holds characters that no token has",
                "Look at TENANTRY_TOKEN.",
            )
        })?;
        bearer.as_mut().into_iter().for_each(|value| value.set_sensitive(true));
        Ok(Client { http, address, bearer })
    }

    /// The header that says who asks.
    pub(super) fn bearer(&self) -> Option<&HeaderValue> {
        self.bearer.as_ref()
    }

    fn request(&self, method: Method, path: &str, query: &Query) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.address)).query(query);
        match &self.bearer {
            Some(bearer) => request.header(AUTHORIZATION, bearer.clone()),
            None => request,
        }
    }

    /// The answer to a GET.
    ///
    /// # Errors
    /// A [`Failure`], as of every other method here.
    pub(super) async fn get(&self, path: &str, query: &Query) -> Result<Value, Failure> {
        self.answer(self.request(Method::GET, path, query)).await
    }

    /// The answer to a write.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let request = self.request(method, path, &Query::new());
        self.answer(body.into_iter().fold(request, |request, body| request.json(body))).await
    }

    /// The answer to a POST of JSON, whatever its status.
    pub(super) async fn post_json(&self, path: &str, body: &Value) -> Result<(StatusCode, Value), Failure> {
        self.ask(self.request(Method::POST, path, &Query::new()).json(body)).await
    }

    /// The answer to a write with a query and without a body.
    pub(super) async fn send_query(
        &self,
        method: Method,
        path: &str,
        query: &Query,
    ) -> Result<Value, Failure> {
        self.answer(self.request(method, path, query)).await
    }

    /// The answer to a POST of text, whatever its status.
    pub(super) async fn post_text(
        &self,
        path: &str,
        content_type: &'static str,
        text: String,
    ) -> Result<(StatusCode, Value), Failure> {
        let request = self.request(Method::POST, path, &Query::new());
        let request = request.header(reqwest::header::CONTENT_TYPE, content_type).body(text);
        self.ask(request).await
    }

    /// A body that is read as it comes. No time limit but for its beginning.
    pub(super) async fn stream(&self, path: &str, query: &Query) -> Result<reqwest::Response, Failure> {
        let sent = tokio::time::timeout(ANSWER, self.request(Method::GET, path, query).send()).await;
        let response = sent
            .map_err(|_| Failure::unreachable(&self.address, "it does not answer"))?
            .map_err(|error| self.unsent(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.json().await.unwrap_or_default();
        Err(Failure::answered(&self.address, status, &body))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let (status, body) = self.ask(request).await?;
        if status.is_success() { Ok(body) } else { Err(Failure::answered(&self.address, status, &body)) }
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Value), Failure> {
        let response = request.timeout(ANSWER).send().await.map_err(|error| self.unsent(&error))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unsent(&error))?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok((status, body)),
            Err(_) if bytes.is_empty() || !status.is_success() => Ok((status, Value::Null)),
            Err(error) => Err(Failure::new(
                FAILED,
                format!("{} answered something that is no JSON: {error}", self.address),
                "Is that a Tenantry server? --server or TENANTRY_SERVER say where it is.",
            )),
        }
    }

    fn unsent(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() && !error.is_connect() {
            let message = format!("the server at {} has not answered in time", self.address);
            return Failure::new(
                FAILED,
                message,
                "What was asked for may still be done; look before asking again.",
            );
        }
        let chain = crate::error::chain(error);
        let why = chain.rsplit(": ").next().unwrap_or(&chain);
        Failure::unreachable(&self.address, why)
    }
}

/// Runs a client's work to its end.
///
/// # Errors
/// Those of the work.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // A read of standard input that is still waiting must not hold up the end.
    runtime.shutdown_background();
    done
}

/// A member of an object; null when it is not there.
pub(super) fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    object.get(name).unwrap_or(&Value::Null)
}

/// A member as a person reads it: text as it is, nothing for null.
pub(super) fn text(object: &Value, name: &str) -> String {
    match field(object, name) {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The entries of a list.
pub(super) fn list<'a>(object: &'a Value, name: &str) -> &'a [Value] {
    field(object, name).as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form() {
        let address = |text| parse_address(text).map_err(|failure| failure.code);
        assert_eq!(address("http://h:1/"), Ok("http://h:1".into()));
        assert_eq!(address("h:32201"), Ok("http://h:32201".into()));
        assert_eq!(address("HTTP://Example.COM:80"), Ok("http://example.com".into()));
        assert_eq!(address("http://h/below/"), Ok("http://h/below".into()));
        for wrong in ["https://h", "ftp://h", "http://", "http://u:p@h", "http://h/?x=1", "http://h:99999"] {
            assert_eq!(address(wrong), Err(USAGE), "{wrong}");
        }
    }

    #[test]
    fn a_token_that_is_no_header_is_refused() {
        assert!(Client::new("http://h".into(), Some("a\nb")).is_err());
        assert!(
            Client::new("http://h".into(), Some("tenement_x\n")).is_ok(),
            "a line feed at its end is common"
        );
    }
}
