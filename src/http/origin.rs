//! Which `Host` and `Origin` are ours.
//!
//! A web page anywhere can make a browser talk to a local port. It cannot forge these two
//! headers: a foreign Host (a name that was bound to our address) and a foreign Origin are
//! refused before anything else is looked at.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};

use super::error::ApiError;

/// Refuses a request that was not meant for us or comes from another site's page.
///
/// # Errors
/// 400 without a Host, 421 for a foreign one, 403 for a foreign or `null` Origin.
pub fn check(request: &Request, own: &[String]) -> Result<(), ApiError> {
    let authority = host(request).ok_or_else(|| {
        ApiError::bad_request("The request names no host.").detailed("Send exactly one Host header.")
    })?;
    if !is_own(name_of(authority), own) {
        return Err(ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "foreign_host",
            "This server does not answer for the host that the request names.",
        )
        .detailed("Add the name to the configuration if it is this server's."));
    }
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let same = origin.to_str().is_ok_and(|origin| is_same(origin, authority)) && origins.next().is_none();
    if same {
        return Ok(());
    }
    Err(ApiError::forbidden("Pages of another origin may not use this server.").coded("foreign_origin"))
}

/// The authority that the request names: of its target (HTTP/2, proxies), else its one Host.
fn host(request: &Request) -> Option<&str> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str());
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    if hosts.next().is_some() || host.is_empty() {
        return None;
    }
    Some(host)
}

/// The host without its port.
pub(crate) fn name_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(name, _)| name);
    }
    authority.rsplit_once(':').map_or(authority, |(name, _)| name)
}

pub(crate) fn is_own(name: &str, own: &[String]) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || own.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// Whether a page of this origin was served by the host that it now talks to. The scheme is
/// not compared: behind a proxy that ends TLS it differs.
fn is_same(origin: &str, authority: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let Some(page) = uri.authority() else { return false };
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = |text: &str| -> Option<u16> {
        let after = text.rsplit_once(']').map_or(text, |(_, after)| after);
        after.rsplit_once(':').map_or(Some(default), |(_, port)| port.parse().ok())
    };
    is_web
        && name_of(page.as_str()).eq_ignore_ascii_case(name_of(authority))
        && port(page.as_str()) == port(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn checked(host: &str, origin: Option<&str>) -> Option<u16> {
        let mut request = Request::builder().uri("/api/tenants").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let request = request.body(Body::empty()).expect("builds");
        check(&request, &["manager.nominate.ai".into()]).err().map(|error| error.status.as_u16())
    }

    #[test]
    fn only_addresses_localhost_and_configured_names_are_ours() {
        for own in ["127.0.0.1:8000", "[::1]:8000", "localhost:1", "LOCALHOST", "manager.nominate.ai"] {
            assert_eq!(checked(own, None), None, "{own}");
        }
        for foreign in
            ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"]
        {
            assert_eq!(checked(foreign, None), Some(421), "{foreign}");
        }
        assert_eq!(checked("", None), Some(400));
    }

    #[test]
    fn a_page_may_talk_to_the_host_that_served_it_and_to_no_other() {
        assert_eq!(checked("127.0.0.1:8000", Some("http://127.0.0.1:8000")), None);
        assert_eq!(checked("manager.nominate.ai", Some("https://manager.nominate.ai")), None);
        assert_eq!(checked("[::1]:8000", Some("http://[::1]:8000")), None);
        for foreign in
            ["null", "http://evil.example", "http://127.0.0.1:3000", "http://localhost:8000", "file://"]
        {
            assert_eq!(checked("127.0.0.1:8000", Some(foreign)), Some(403), "{foreign}");
        }
    }
}
